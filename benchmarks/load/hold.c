/* Clients that stay: N connections in one thread that answer pings and are silent otherwise, until
 * a line on stdin tells them to send one message each. Their process leaves when stdin ends.
 *
 * benchmarks/capacity.py runs several of them. Each prints JSON objects, one a line: how many are
 * open, once a second and at the end, and how many echoes came; or a sentence on stderr, and exits
 * with 1. It must not know which server it talks to, nor of the other processes.
 */
#define _GNU_SOURCE
#include "connection.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENTS = 512, STALL_SECONDS = 60 };

struct options option = {.host = "127.0.0.1", .path = "/", .size = 32, .opcode = OPCODE_TEXT,
                         .stamped = true};

static struct connection *connections;
static int epoll, first, started, opened, echoes, at_once = 64;

void fail(const struct connection *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (c)
        fprintf(stderr, "connection %u: ", c->number);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, " (this client has opened %d of %d)\n", opened, option.connections);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void report(const char *what, int count)
{
    printf("{\"%s\": %d}\n", what, count);
    fflush(stdout);
}

/* They will leave with a reset: in TIME_WAIT they would take memory for a minute more, which would
 * disturb whoever measures next. */
void handle_open(struct connection *c)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    opened++;
}

void handle_echo(struct connection *c)
{
    (void)c;
    echoes++;
}

void handle_end(struct connection *c) { (void)c; }

/* Handle what happens within so many milliseconds; return whether there is something on stdin. */
static bool run_once(int milliseconds)
{
    static struct epoll_event events[MAX_EVENTS];
    bool told = false;
    int count = epoll_wait(epoll, events, MAX_EVENTS, milliseconds);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr)
            handle_event(events[i].data.ptr, events[i].events);
        else
            told = true;
    }
    return told;
}

/* Wait until so many are counted, and tell every second how many there are. */
static void wait_for(const int *counted, int count, const char *what, void (*go_on)(void))
{
    double last_report = now(), last_change = last_report;
    for (int before = *counted; *counted < count; before = *counted) {
        go_on();
        if (run_once(100))
            exit(0); /* whoever started this is gone */
        double time = now();
        if (*counted != before)
            last_change = time;
        else if (time - last_change > STALL_SECONDS)
            fail(NULL, "nothing happened for %d s: %d of %d %s", STALL_SECONDS, *counted, count,
                 what);
        if (time - last_report > 1) {
            report(what, *counted);
            last_report = time;
        }
    }
    report(what, *counted);
}

static void start_some(void)
{
    for (; started < option.connections && started - opened < at_once; started++)
        start_connection(&connections[started], epoll, first + started);
}

static void do_nothing(void) {}

static void ask_all(void)
{
    echoes = 0;
    for (int i = 0; i < option.connections; i++)
        send_message(&connections[i]);
    wait_for(&echoes, option.connections, "echoes", do_nothing);
}

static void watch_stdin(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event))
        fail(NULL, "cannot watch stdin");
}

/* Every byte on stdin is one round of echoes. */
static void obey(void)
{
    char byte;
    for (;;) {
        while (!run_once(1000))
            continue;
        if (read(STDIN_FILENO, &byte, 1) != 1)
            return;
        ask_all();
    }
}

static void parse_options(int count, char **words)
{
    enum { HOST = 1, PORT, PATH, CONNECTIONS, SIZE, FIRST, SOURCES, AT_ONCE };
    static const struct option names[] = {
        {"host", required_argument, NULL, HOST},
        {"port", required_argument, NULL, PORT},
        {"path", required_argument, NULL, PATH},
        {"connections", required_argument, NULL, CONNECTIONS},
        {"size", required_argument, NULL, SIZE},
        {"first", required_argument, NULL, FIRST}, /* number, different in each process */
        {"sources", required_argument, NULL, SOURCES},
        {"at-once", required_argument, NULL, AT_ONCE},
        {0}};
    for (int name; (name = getopt_long(count, words, "", names, NULL)) != -1;) {
        switch (name) {
        case HOST: option.host = optarg; break;
        case PORT: option.port = atoi(optarg); break;
        case PATH: option.path = optarg; break;
        case CONNECTIONS: option.connections = atoi(optarg); break;
        case SIZE: option.size = strtoul(optarg, NULL, 10); break;
        case FIRST: first = atoi(optarg); break;
        case SOURCES: option.sources = atoi(optarg); break;
        case AT_ONCE: at_once = atoi(optarg); break;
        default: exit(2);
        }
    }
}

int main(int count, char **words)
{
    parse_options(count, words);
    connections = calloc(option.connections, sizeof *connections);
    epoll = epoll_create1(0);
    build_message();
    watch_stdin();
    wait_for(&opened, option.connections, "open", start_some);
    obey();
    return 0;
}
