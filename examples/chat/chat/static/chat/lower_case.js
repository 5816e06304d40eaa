// Sends what is typed to one address over HTTP and through a WebSocket, and shows both answers.

import { keepConnected } from "./socket.js";

const panel = document.getElementById("lower-case");
const input = panel.querySelector("input");

function show(where, answer) {
  panel.querySelector(`[data-answer=${where}]`).textContent = answer || "–";
}

const send = keepConnected(panel.dataset.address, {
  onMessage: (answer) => show("socket", answer),
  onStatus: (status) => {
    panel.dataset.status = status;
  },
});

input.addEventListener("input", async () => {
  const message = input.value;
  send(message);
  const query = new URLSearchParams({ message });
  const response = await fetch(`${panel.dataset.address}?${query}`);
  const answer = await response.text();
  // Answers to separate requests may overtake each other, which a socket's never do.
  if (message === input.value) show("http", answer);
});
