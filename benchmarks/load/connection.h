/* What the load generator's two halves share: main.c says what to measure, connection.c how to
 * speak WebSocket. connection.c must not know why it connects or sends, so that no way to measure
 * needs a second client.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OPCODE_CONTINUATION = 0, OPCODE_TEXT = 1, OPCODE_BINARY = 2,
       OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10,
       MAX_PROCESSES = 16 };

struct connection {
    int fd;
    enum { CONNECTING, UPGRADING, OPEN, CLOSING, CLOSED } state;
    bool awaiting_echo, in_message, pong_due, goes_on;
    uint32_t number, sequence;
    char *response; /* only while UPGRADING */
    size_t response_length;
    size_t sent;     /* bytes of the current frame that the kernel took */
    size_t received; /* payload bytes of the current echo, over all its frames */
    uint8_t header[10], header_length;
    uint64_t frame_left;
    uint8_t control[125], control_length;
};

extern struct options {
    const char *host, *path, *cookie;
    int port, publisher_port, connections, sources, window, server_pids[MAX_PROCESSES], server_processes;
    size_t size;
    double warmup, seconds;
    uint8_t opcode;
    bool stamped;
} option;

/* connection.c */
void build_message(void);
void start_connection(struct connection *c, int epoll, uint32_t number);
void send_message(struct connection *c);
void send_numbered(struct connection *c, uint32_t sequence);
void expect_message(struct connection *c);
void send_close(struct connection *c);
void handle_event(struct connection *c, uint32_t events);

/* main.c */
void handle_open(struct connection *c);
void handle_echo(struct connection *c);
void handle_end(struct connection *c);
_Noreturn void fail(const struct connection *c, const char *format, ...);
