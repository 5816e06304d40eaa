/* The load generator: N WebSocket clients in one thread, closed loop, every echo verified.
 *
 * benchmarks/generator.py compiles and runs it; it prints one JSON object, or one sentence on
 * stderr and exits with 1. It must not know which server it talks to.
 *
 * C, because the fastest server measured answers 200,000 messages a second from one core, and the
 * client must have at least 1.3 times that in hand or the benchmark would be measuring itself.
 */
#define _GNU_SOURCE
#include "connection.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

enum {
    /* Below the backlog of every server here (asyncio's is 100): a dropped SYN is sent again only
     * after a second. */
    HANDSHAKES_AT_ONCE = 64,
    MAX_EVENTS = 512,
    STALL_SECONDS = 20,
};

struct options option = {.host = "127.0.0.1", .path = "/", .connections = 100, .size = 32,
                         .warmup = 0.5, .seconds = 2, .opcode = OPCODE_TEXT, .stamped = true};

static struct connection *connections;
static int epoll, started, opened, outstanding;
static bool running;
static uint64_t messages;

void fail(const struct connection *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (c)
        fprintf(stderr, "connection %u, message %u: ", c->number, c->sequence);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

static double read_clock(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time))
        fail(NULL, "the server process is gone");
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double now(void) { return read_clock(CLOCK_MONOTONIC); }

/* The kernel's own sum over all threads, in nanoseconds; /proc would give ticks of 10 ms. */
static double read_server_clock(void)
{
    double sum = 0;
    for (int i = 0; i < option.server_processes; i++) {
        clockid_t clock;
        if (clock_getcpuclockid(option.server_pids[i], &clock))
            fail(NULL, "no process has the id %d", option.server_pids[i]);
        sum += read_clock(clock);
    }
    return sum;
}

static void add_server_process(int pid)
{
    if (option.server_processes == MAX_PROCESSES)
        fail(NULL, "the server has more than %d processes", MAX_PROCESSES);
    option.server_pids[option.server_processes++] = pid;
}

static void send_next(struct connection *c)
{
    outstanding++;
    send_message(c);
}

void handle_open(struct connection *c)
{
    (void)c;
    opened++;
}

void handle_echo(struct connection *c)
{
    messages++;
    outstanding--;
    if (running)
        send_next(c);
}

/* Handle what happens within 10 ms; the callers repeat it until what they wait for is there. */
static void run_once(void)
{
    static struct epoll_event events[MAX_EVENTS];
    static double last_event;
    int count = epoll_wait(epoll, events, MAX_EVENTS, 10);
    for (int i = 0; i < count; i++)
        handle_event(events[i].data.ptr, events[i].events);
    if (count > 0 || last_event == 0)
        last_event = now();
    else if (now() - last_event > STALL_SECONDS)
        fail(NULL, "nothing happened for %d s: %d of %d connections open, %d echoes missing",
             STALL_SECONDS, opened, option.connections, outstanding);
}

static void run_for(double seconds)
{
    for (double end = now() + seconds; now() < end;)
        run_once();
}

static void open_all(void)
{
    while (opened < option.connections) {
        for (; started < option.connections && started - opened < HANDSHAKES_AT_ONCE; started++)
            start_connection(&connections[started], epoll, started);
        run_once();
    }
}

static void start_all(void)
{
    running = true;
    for (int i = 0; i < option.connections; i++)
        send_next(&connections[i]);
}

/* Every last echo must come too, or a server could starve some connections unnoticed. */
static void finish_all(void)
{
    running = false;
    while (outstanding > 0)
        run_once();
    for (int i = 0; i < option.connections; i++)
        send_close(&connections[i]);
}

static void measure_echo(void)
{
    open_all();
    start_all();
    run_for(option.warmup);
    uint64_t messages_before = messages;
    double server_before = read_server_clock(), client_before = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    double start = now();
    run_for(option.seconds);
    double elapsed = now() - start;
    double client = read_clock(CLOCK_PROCESS_CPUTIME_ID) - client_before;
    double server = read_server_clock() - server_before;
    uint64_t measured = messages - messages_before;
    finish_all();
    printf("{\"messages\": %llu, \"seconds\": %.6f, \"errors\": 0, "
           "\"client_cpu_seconds\": %.6f, \"server_cpu_seconds\": %.6f}\n",
           (unsigned long long)measured, elapsed, client, server);
}

static void parse_options(int count, char **words)
{
    enum { HOST = 1, PORT, PATH, CONNECTIONS, SIZE, WARMUP, SECONDS, BINARY, SAME, SERVER_PID,
           COOKIE };
    static const struct option names[] = {
        {"host", required_argument, NULL, HOST},
        {"port", required_argument, NULL, PORT},
        {"path", required_argument, NULL, PATH},
        {"cookie", required_argument, NULL, COOKIE},
        {"connections", required_argument, NULL, CONNECTIONS},
        {"size", required_argument, NULL, SIZE},
        {"warmup", required_argument, NULL, WARMUP},
        {"seconds", required_argument, NULL, SECONDS},
        {"binary", no_argument, NULL, BINARY},
        {"same-payload", no_argument, NULL, SAME}, /* for a server that cannot echo, only answer */
        {"server-pid", required_argument, NULL, SERVER_PID},
        {0}};
    for (int name; (name = getopt_long(count, words, "", names, NULL)) != -1;) {
        switch (name) {
        case HOST: option.host = optarg; break;
        case PORT: option.port = atoi(optarg); break;
        case PATH: option.path = optarg; break;
        case COOKIE: option.cookie = optarg; break;
        case CONNECTIONS: option.connections = atoi(optarg); break;
        case SIZE: option.size = strtoul(optarg, NULL, 10); break;
        case WARMUP: option.warmup = atof(optarg); break;
        case SECONDS: option.seconds = atof(optarg); break;
        case BINARY: option.opcode = OPCODE_BINARY; break;
        case SAME: option.stamped = false; break;
        case SERVER_PID: add_server_process(atoi(optarg)); break;
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
    measure_echo();
    return 0;
}
