/* One WebSocket client connection: the handshake, masked frames out, verified echoes in.
 *
 * main.c calls it for every event of epoll. An answer that no browser would accept is an error
 * here too, so a server cannot look fast by being wrong.
 */
#define _GNU_SOURCE
#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_RESPONSE = 16 * 1024, READ_SIZE = 256 * 1024, STAMP_SIZE = 8,
       PATIENCE = 20 * 1000 /* milliseconds */ };

/* RFC 6455, section 1.3: the sample key and its answer, so that no SHA-1 is needed here. */
static const char KEY[] = "dGhlIHNhbXBsZSBub25jZQ==", ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
static const uint8_t MASK[4] = {0x37, 0xfa, 0x21, 0x3d};

/* One frame and one payload for all connections: whoever uses them puts its own stamp in first.
 * With a copy each, 100 connections with 1 MB messages would measure the cache, and 20,000 would
 * not fit into memory. */
static uint8_t *frame, *payload, *frame_payload;
static size_t frame_size;

static size_t put_header(uint8_t *out, uint8_t opcode, uint64_t size)
{
    size_t length_bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;
    out[0] = 0x80 | opcode;
    out[1] = 0x80 | (length_bytes == 0 ? size : length_bytes == 2 ? 126 : 127);
    for (size_t i = 0; i < length_bytes; i++)
        out[2 + i] = size >> (8 * (length_bytes - 1 - i));
    memcpy(out + 2 + length_bytes, MASK, 4);
    return 2 + length_bytes + 4;
}

void build_message(void)
{
    payload = malloc(option.size + 1);
    frame = malloc(option.size + 14);
    if (!payload || !frame)
        fail(NULL, "out of memory");
    frame_payload = frame + put_header(frame, option.opcode, option.size);
    for (size_t i = 0; i < option.size; i++) {
        payload[i] = 'a' + i % 26;
        frame_payload[i] = payload[i] ^ MASK[i % 4];
    }
    frame_size = frame_payload + option.size - frame;
}

/* Who sent this, and as which message: an echo of another connection, or an old one, differs. */
static void stamp(const struct connection *c)
{
    uint32_t value = c->number << 16 | (c->sequence & 0xffff);
    if (!option.stamped || option.size < STAMP_SIZE)
        return;
    for (int i = STAMP_SIZE - 1; i >= 0; i--, value >>= 4) {
        payload[i] = "0123456789abcdef"[value & 15];
        frame_payload[i] = payload[i] ^ MASK[i % 4];
    }
}

/* Return whether the kernel took it. */
static bool send_control(struct connection *c, uint8_t opcode, const uint8_t *data, size_t length)
{
    uint8_t out[6 + 125];
    size_t header = put_header(out, opcode, length);
    for (size_t i = 0; i < length; i++)
        out[header + i] = data[i] ^ MASK[i % 4];
    ssize_t n = send(c->fd, out, header + length, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n != (ssize_t)(header + length))
        fail(c, "cannot send a control frame: %s", strerror(errno));
    return true;
}

/* Servers ping every 20 s and close when they are not answered, so a pong that cannot go now, amid a
 * large message, goes later. */
static void send_pong(struct connection *c)
{
    bool amid_a_message = c->awaiting_echo && c->sent < frame_size;
    c->pong_due = amid_a_message || !send_control(c, OPCODE_PONG, c->control, c->control_length);
}

static void send_rest_of_frame(struct connection *c)
{
    stamp(c);
    while (c->sent < frame_size) {
        ssize_t n = send(c->fd, frame + c->sent, frame_size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            fail(c, "cannot send: %s", strerror(errno));
        c->sent += n;
    }
    if (c->pong_due)
        send_pong(c);
}

void send_message(struct connection *c)
{
    c->sent = c->received = 0;
    c->awaiting_echo = true;
    send_rest_of_frame(c);
}

/* What somebody is about to send to everybody; it has that connection's stamp. */
void expect_message(struct connection *c)
{
    if (c->awaiting_echo)
        return;
    c->sent = frame_size;
    c->received = 0;
    c->awaiting_echo = true;
}

/* Send one of several messages that are under way to everybody. */
void send_numbered(struct connection *c, uint32_t sequence)
{
    uint32_t expected = c->sequence;
    c->sequence = sequence;
    stamp(c);
    c->sequence = expected;
    for (size_t sent = 0; sent < frame_size;) {
        ssize_t n = send(c->fd, frame + sent, frame_size - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            n = poll(&(struct pollfd){.fd = c->fd, .events = POLLOUT}, 1, PATIENCE) == 1 ? 0 : -1;
        if (n < 0)
            fail(c, "cannot send: %s", strerror(errno));
        sent += n;
    }
}

void send_close(struct connection *c)
{
    if (!send_control(c, OPCODE_CLOSE, (const uint8_t[]){1000 >> 8, 1000 & 0xff}, 2))
        fail(c, "cannot send a close frame");
    c->state = CLOSING;
}

static bool is_control(const struct connection *c) { return c->header[0] & 8; }

static bool is_final(const struct connection *c) { return c->header[0] & 0x80; }

static size_t header_size(const struct connection *c)
{
    uint8_t length = c->header_length < 2 ? 0 : c->header[1] & 0x7f;
    return length == 126 ? 4 : length == 127 ? 10 : 2;
}

static void handle_header(struct connection *c)
{
    uint8_t opcode = c->header[0] & 15, length = c->header[1] & 0x7f;
    c->frame_left = length < 126 ? length : 0;
    for (int i = 2; i < c->header_length; i++)
        c->frame_left = c->frame_left << 8 | c->header[i];
    if (c->header[0] & 0x70 || c->header[1] & 0x80)
        fail(c, "the server sent a frame with reserved bits or a mask");
    if (is_control(c)) {
        c->control_length = 0;
        if (length > 125 || !is_final(c))
            fail(c, "the server sent a long or fragmented control frame");
        return;
    }
    if (opcode != (c->in_message ? OPCODE_CONTINUATION : option.opcode))
        fail(c, "the server sent opcode %u", opcode);
    if (!c->awaiting_echo || c->frame_left > option.size - c->received)
        fail(c, "the server sent more than it was sent");
    c->in_message = !is_final(c);
}

static void handle_payload(struct connection *c, const uint8_t *data, size_t length)
{
    if (is_control(c)) {
        memcpy(c->control + c->control_length, data, length);
        c->control_length += length;
        return;
    }
    stamp(c);
    if (memcmp(payload + c->received, data, length))
        fail(c, "the echo differs from what was sent");
    c->received += length;
}

static void handle_frame_end(struct connection *c)
{
    uint8_t opcode = c->header[0] & 15;
    if (opcode == OPCODE_CLOSE && c->state == OPEN)
        fail(c, "the server closed with code %d",
             c->control_length < 2 ? 1005 : c->control[0] << 8 | c->control[1]);
    if (opcode == OPCODE_CLOSE)
        c->state = CLOSED;
    if (opcode == OPCODE_PING && c->state == OPEN)
        send_pong(c);
    if (is_control(c) || !is_final(c))
        return;
    if (c->received != option.size || c->sent != frame_size)
        fail(c, "the echo has %zu bytes instead of %zu", c->received, option.size);
    c->sequence++;
    c->awaiting_echo = false;
    handle_echo(c);
}

/* The server may split its frames anywhere, so each step keeps what it has in the connection. */
static void handle_frames(struct connection *c, const uint8_t *data, const uint8_t *end)
{
    while (data < end && c->state != CLOSED) {
        if (c->header_length < header_size(c)) {
            c->header[c->header_length++] = *data++;
            if (c->header_length < header_size(c))
                continue;
            handle_header(c);
        }
        size_t available = end - data;
        size_t length = c->frame_left < available ? c->frame_left : available;
        handle_payload(c, data, length);
        data += length;
        c->frame_left -= length;
        if (c->frame_left == 0) {
            handle_frame_end(c);
            c->header_length = 0;
        }
    }
    c->goes_on = c->state == CLOSED && data < end;
}

static void send_request(struct connection *c)
{
    char request[4096];
    int length = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s%s%s\r\n",
        option.path, option.host, option.port, KEY, option.cookie ? "Cookie: " : "",
        option.cookie ? option.cookie : "", option.cookie ? "\r\n" : "");
    if (length >= (int)sizeof request)
        fail(c, "the path or the cookie is too long");
    if (send(c->fd, request, length, MSG_NOSIGNAL) != length)
        fail(c, "cannot send the handshake: %s", strerror(errno));
    c->response = calloc(1, MAX_RESPONSE + 1);
    c->state = UPGRADING;
}

static void handle_response(struct connection *c, const uint8_t *data, size_t length)
{
    if (c->response_length + length > MAX_RESPONSE)
        fail(c, "the answer to the handshake is too long");
    memcpy(c->response + c->response_length, data, length);
    c->response_length += length;
    char *end = strstr(c->response, "\r\n\r\n");
    if (!end)
        return;
    if (strncmp(c->response, "HTTP/1.1 101 ", 13))
        fail(c, "the handshake was refused: %.*s", (int)strcspn(c->response, "\r\n"), c->response);
    char *accept = strstr(c->response, ACCEPT);
    if (!accept || accept > end)
        fail(c, "the handshake has no valid Sec-WebSocket-Accept");
    c->state = OPEN;
    handle_open(c);
    handle_frames(c, (uint8_t *)end + 4, (uint8_t *)c->response + c->response_length);
    free(c->response);
    c->response = NULL;
}

/* The server closes first (RFC 6455, section 7.1.1), so what stays in TIME_WAIT is its end, and the
 * client's port is free again at once. Only a server that goes on behind its close frame is left:
 * with dwebsocket the WSGI server sends a page then and waits for another request. */
static void end_connection(struct connection *c)
{
    close(c->fd);
    handle_end(c);
}

static void read_all(struct connection *c)
{
    static uint8_t input[READ_SIZE];
    ssize_t n;
    do {
        n = recv(c->fd, input, sizeof input, 0);
        if (n < 0 && errno == EAGAIN) {
            /* What the server still writes may wait for this ACK, which can take 40 ms otherwise. */
            if (c->state == CLOSED)
                setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){1}, sizeof(int));
            return;
        }
        if (c->state == CLOSED && (n >= 0 || errno == ECONNRESET)) {
            end_connection(c);
            return;
        }
        if (n < 0)
            fail(c, "cannot receive: %s", strerror(errno));
        if (n == 0)
            fail(c, "the server dropped the connection");
        if (c->state == UPGRADING)
            handle_response(c, input, n);
        else
            handle_frames(c, input, input + n);
        if (c->goes_on) {
            end_connection(c);
            return;
        }
        /* A short read has emptied the socket: asking again would cost a system call a message. */
    } while (n == sizeof input || c->state == CLOSED);
}

void handle_event(struct connection *c, uint32_t events)
{
    if (c->state == CONNECTING) {
        int error = 0;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
        if (error)
            fail(c, "cannot connect: %s", strerror(error));
        if (events & EPOLLOUT)
            send_request(c);
        return;
    }
    if (c->awaiting_echo && c->sent < frame_size && events & EPOLLOUT)
        send_rest_of_frame(c);
    else if (c->pong_due && events & EPOLLOUT)
        send_pong(c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_all(c);
}

/* Thousands of connections a second use up the ports of one address: the clients have several, all
 * of them on the loopback interface. The port is chosen by connect(), not by bind(). */
static void bind_to_source(const struct connection *c)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    if (!option.sources)
        return;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + c->number % option.sources);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
    if (bind(c->fd, (struct sockaddr *)&source, sizeof source))
        fail(c, "cannot use a further loopback address: %s", strerror(errno));
}

void start_connection(struct connection *c, int epoll, uint32_t number)
{
    int port = number == 0 && option.publisher_port ? option.publisher_port : option.port;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    /* Edge-triggered and for both directions from the start: no epoll_ctl call ever again. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    *c = (struct connection){.number = number, .sequence = c->sequence};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        fail(c, "cannot open a socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (!inet_pton(AF_INET, option.host, &address.sin_addr))
        fail(c, "--host takes an IPv4 address, got %s", option.host);
    bind_to_source(c);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail(c, "cannot connect: %s", strerror(errno));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event))
        fail(c, "cannot watch the socket: %s", strerror(errno));
}
