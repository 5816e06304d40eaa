// Shows the server's time and the number of people online, in the head of every page, and in a
// room who is there.

import { keepConnected } from "./socket.js";

const ticker = document.getElementById("ticker");
const clock = ticker.querySelector("time");
const online = ticker.querySelector(".online");
const people = document.getElementById("people");

function draw(name) {
  const item = document.createElement("li");
  item.textContent = name;
  return item;
}

keepConnected(ticker.dataset.socket, {
  onMessage(text) {
    const tick = JSON.parse(text);
    clock.dateTime = tick.time;
    clock.textContent = new Date(tick.time).toLocaleTimeString();
    online.textContent = `${tick.online} online`;
    people?.replaceChildren(...tick.here.map(draw));
  },
  onStatus(status) {
    ticker.classList.toggle("live", status === "open");
  },
});
