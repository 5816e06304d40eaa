// Shows the server's time and the number of people online, in the head of every page.

import { keepConnected } from "./socket.js";

const ticker = document.getElementById("ticker");
const clock = ticker.querySelector("time");
const online = ticker.querySelector(".online");

keepConnected(ticker.dataset.socket, {
  onMessage(text) {
    const tick = JSON.parse(text);
    clock.dateTime = tick.time;
    clock.textContent = new Date(tick.time).toLocaleTimeString();
    online.textContent = `${tick.online} online`;
  },
  onStatus(status) {
    ticker.classList.toggle("live", status === "open");
  },
});
