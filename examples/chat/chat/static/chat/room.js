// One room: shows its messages, old and new, and sends what is typed.

import { keepConnected } from "./socket.js";

const room = document.getElementById("room");
const list = document.getElementById("messages");
const nothing = document.getElementById("nothing");
const status = document.getElementById("status");
const form = document.getElementById("say");
const box = form.querySelector("textarea");
const button = form.querySelector("button");

// Everything that people wrote goes in as textContent, never as HTML.
function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function hue(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

function timeOf(created) {
  const moment = new Date(created);
  const today = moment.toDateString() === new Date().toDateString();
  const day = today ? {} : { day: "numeric", month: "short" };
  const time = element("time", "", moment.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit" }));
  time.dateTime = created;
  time.title = moment.toLocaleString();
  return time;
}

function draw(message) {
  const item = element("li", message.author === room.dataset.me ? "message mine" : "message", "");
  item.dataset.id = message.id;
  item.style.setProperty("--hue", hue(message.author));
  const head = element("p", "head", "");
  head.append(element("b", "author", message.author), timeOf(message.created));
  const body = element("div", "body", "");
  body.append(head, element("p", "text", message.text));
  item.append(element("span", "picture", [...message.author][0].toUpperCase()), body);
  return item;
}

// After a reconnect the history comes again, and a message may overtake it: the id says what is
// new and where it belongs.
function show(message) {
  let before = list.lastElementChild;
  while (before && Number(before.dataset.id) > message.id) before = before.previousElementSibling;
  if (before && Number(before.dataset.id) === message.id) return;
  if (before) before.after(draw(message));
  else list.prepend(draw(message));
}

function isAtTheEnd() {
  return list.scrollHeight - list.scrollTop - list.clientHeight < 80;
}

const send = keepConnected(room.dataset.socket, {
  onMessage(text) {
    const received = JSON.parse(text);
    const follow = isAtTheEnd();
    const messages = received.type === "history" ? received.messages : [received.message];
    messages.forEach(show);
    nothing.hidden = list.childElementCount > 0;
    // Who has scrolled up is reading, and is left in peace.
    if (follow) list.scrollTop = list.scrollHeight;
  },
  onStatus(now) {
    status.dataset.status = now;
    status.textContent = { open: "connected", connecting: "connecting", closed: "reconnecting" }[now];
    button.disabled = now !== "open";
  },
  // A browser does not tell a script why a handshake was refused. Over HTTP it does: a redirect
  // means that the session has ended, and a reload then leads to the log-in page.
  async onRefused() {
    try {
      const response = await fetch(location.href, { method: "HEAD", redirect: "manual" });
      if (response.type === "opaqueredirect") location.reload();
    } catch {
      // The server is away; the next attempt to connect will tell.
    }
  },
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = box.value.trim();
  // Without an open socket the text stays in the box, to be sent later.
  if (text && send(text)) box.value = "";
  fit();
  box.focus();
});

box.addEventListener("keydown", (event) => {
  // While a word is being composed, in Chinese or Japanese, Enter belongs to the input method.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});

function fit() {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}
box.addEventListener("input", fit);
