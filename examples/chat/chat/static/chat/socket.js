// Keeps one WebSocket open for a page: when it is lost it comes back by itself.

const FIRST_DELAY = 500;
const LONGEST_DELAY = 15_000;

// Calls onMessage(text) for each message, onStatus("connecting" | "open" | "closed") at each
// change, and onRefused() when a connection could not be opened. Returns send(text), which
// answers whether there was an open socket to send through.
export function keepConnected(path, { onMessage, onStatus = () => {}, onRefused = () => {} }) {
  const address = new URL(path, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  let socket;
  let failures = 0;
  let timer;

  function connect() {
    clearTimeout(timer);
    let opened = false;
    onStatus("connecting");
    socket = new WebSocket(address);
    socket.onopen = () => {
      opened = true;
      onStatus("open");
    };
    socket.onmessage = (event) => {
      // Only now, not in onopen: a server that accepts and then fails deserves the back-off too.
      failures = 0;
      onMessage(event.data);
    };
    socket.onclose = () => {
      const delay = Math.min(FIRST_DELAY * 2 ** failures, LONGEST_DELAY);
      failures += 1;
      // Half of it is random: after a restart the pages must not all come back at one instant.
      timer = setTimeout(connect, delay * (0.5 + Math.random() / 2));
      onStatus("closed");
      if (!opened) onRefused();
    };
  }

  addEventListener("online", () => {
    if (socket.readyState === WebSocket.CLOSED) connect();
  });
  // A page that one has left may be kept for the back button, with its socket open: the server
  // would go on taking its reader for present.
  addEventListener("pagehide", () => {
    clearTimeout(timer);
    socket.onclose = null;
    socket.close();
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) connect();
  });
  connect();

  return (text) => {
    if (socket.readyState !== WebSocket.OPEN) return false;
    socket.send(text);
    return true;
  };
}
