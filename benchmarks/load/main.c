/* The load generator: N WebSocket clients in one thread, every echo verified.
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
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

enum {
    /* Below the backlog of every server here (asyncio's is 100): a dropped SYN is sent again only
     * after a second. */
    HANDSHAKES_AT_ONCE = 64,
    MAX_EVENTS = 512,
    MAX_WINDOW = 1024,
    STALL_SECONDS = 20,
};

struct options option = {.host = "127.0.0.1", .path = "/", .connections = 100, .size = 32,
                         .warmup = 0.5, .seconds = 2, .window = 1, .opcode = OPCODE_TEXT,
                         .stamped = true};

static struct connection *connections;
static int epoll, started, opened, outstanding, ended;
static bool running;
/* What is counted: echoes, or connections from beginning to end. */
static uint64_t counted;

static const double IDLE_SECONDS = 0.25;

/* A way to measure, and what it does when a connection is open, has its echo, is closed. */
static const struct mode {
    const char *name;
    void (*measure)(void);
    void (*handle_open)(struct connection *c);
    void (*handle_echo)(struct connection *c);
    void (*handle_end)(struct connection *c);
} *mode;

void handle_open(struct connection *c) { mode->handle_open(c); }
void handle_echo(struct connection *c) { mode->handle_echo(c); }
void handle_end(struct connection *c) { mode->handle_end(c); }

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
        fail(NULL, "nothing happened for %d s: %d of %d connections open, %d echoes missing, %d "
             "connections ended", STALL_SECONDS, opened, option.connections, outstanding, ended);
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

static void send_to_all(void)
{
    for (int i = 0; i < option.connections; i++)
        send_next(&connections[i]);
}

/* Every last echo must come too, or a server could starve some connections unnoticed. */
static void wait_for_echoes(void)
{
    while (outstanding > 0)
        run_once();
}

/* Whoever still handles ends of connections would be in the way of the next to be measured. */
static void close_all(void)
{
    for (int i = 0; i < option.connections; i++)
        send_close(&connections[i]);
    while (option.stamped && ended < option.connections)
        run_once();
}

static struct {
    uint64_t counted;
    double time, server, client;
} before;

static void start_measuring(void)
{
    before.counted = counted;
    before.server = read_server_clock();
    before.client = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    before.time = now();
}

/* The delays of deliveries since the measurement began, in milliseconds. */
static struct {
    float *of;
    size_t count, room;
} delays;

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double delay_of(double share)
{
    return delays.count ? delays.of[(size_t)((delays.count - 1) * share)] : 0;
}

static void stop_measuring(void)
{
    double seconds = now() - before.time;
    double client = read_clock(CLOCK_PROCESS_CPUTIME_ID) - before.client;
    double server = read_server_clock() - before.server;
    qsort(delays.of, delays.count, sizeof *delays.of, compare_floats);
    printf("{\"connections\": %d, \"count\": %llu, \"seconds\": %.6f, "
           "\"client_cpu_seconds\": %.6f, \"server_cpu_seconds\": %.6f, "
           "\"delays\": [%.3f, %.3f, %.3f]}\n",
           option.connections, (unsigned long long)(counted - before.counted), seconds, client,
           server, delay_of(0.5), delay_of(0.99), delay_of(1));
}

static void count_opened(struct connection *c)
{
    (void)c;
    opened++;
}

static void count_echo(struct connection *c)
{
    counted++;
    outstanding--;
    if (running)
        send_next(c);
}

static void count_ended(struct connection *c)
{
    (void)c;
    ended++;
}

/* All connections exchange messages as fast as they can. */
static void measure_echo(void)
{
    open_all();
    running = true;
    send_to_all();
    run_for(option.warmup);
    start_measuring();
    run_for(option.seconds);
    /* With less than one for each, the figure would be of those that happen to be served first. */
    while (counted - before.counted < (uint64_t)option.connections)
        run_once();
    stop_measuring();
    running = false;
    wait_for_echoes();
    close_all();
}

/* Each client connects, has one message echoed, closes, and does so again. */
static void measure_connect(void)
{
    running = true;
    for (int i = 0; i < option.connections; i++)
        start_connection(&connections[i], epoll, i);
    run_for(option.warmup);
    start_measuring();
    run_for(option.seconds);
    stop_measuring();
    running = false;
    while (ended < option.connections)
        run_once();
}

static void connect_again(struct connection *c)
{
    counted++;
    if (running)
        start_connection(c, epoll, c->number);
    else
        ended++;
}

/* All connections are silent, then each one is sent a message at once: when is the last one back?
 * An echo beforehand shows that whoever answers has begun, and waits. */
static void measure_burst(void)
{
    open_all();
    run_for(option.warmup);
    start_measuring();
    send_to_all();
    wait_for_echoes();
    stop_measuring();
    close_all();
}

static void count_opened_or_echo(struct connection *c)
{
    (void)c;
    outstanding--;
    if (opened < option.connections)
        opened++;
    else
        counted++;
}

/* What is under way: messages from the oldest one that a member still lacks to the newest. */
static struct {
    uint32_t sent, arrived;
    int missing[MAX_WINDOW];
    double sent_at[MAX_WINDOW], last_arrival;
} published;

static void note_delay(double seconds)
{
    if (delays.count == delays.room) {
        delays.room = delays.room ? 2 * delays.room : 1 << 20;
        delays.of = realloc(delays.of, delays.room * sizeof *delays.of);
        if (!delays.of)
            fail(NULL, "out of memory");
    }
    delays.of[delays.count++] = seconds * 1000;
}

static void publish(void)
{
    int slot = published.sent % option.window;
    published.missing[slot] = option.connections;
    published.sent_at[slot] = published.last_arrival = now();
    outstanding += option.connections;
    for (int i = 0; i < option.connections; i++)
        expect_message(&connections[i]);
    send_numbered(&connections[0], published.sent++);
}

/* The stamp was that of the member's next message: it has come in order, and once. */
static void count_delivery(struct connection *c)
{
    int slot = (c->sequence - 1) % option.window;
    published.last_arrival = now();
    note_delay(published.last_arrival - published.sent_at[slot]);
    counted++;
    outstanding--;
    published.missing[slot]--;
    if (c->sequence < published.sent)
        expect_message(c);
}

/* Something always happens, since servers ping: what counts is that messages arrive. */
static void run_until_delivery(void)
{
    run_once();
    if (now() - published.last_arrival > STALL_SECONDS)
        fail(NULL, "nothing was delivered for %d s: %d deliveries are missing of the messages %u "
             "to %u", STALL_SECONDS, outstanding, published.arrived, published.sent - 1);
}

/* The first connection sends messages, which all of them get. It is ahead of the slowest by as many
 * as the window has. */
static void publish_for(double seconds)
{
    for (double end = now() + seconds; now() < end || outstanding > 0;) {
        while (published.arrived < published.sent &&
               !published.missing[published.arrived % option.window])
            published.arrived++;
        if (now() < end && published.sent - published.arrived < (uint32_t)option.window)
            publish();
        else
            run_until_delivery();
    }
}

/* Whoever was accepted may not have joined yet: that is when the server has nothing left to do. */
static void wait_until_idle(void)
{
    double start, busy;
    do {
        start = read_server_clock();
        run_for(IDLE_SECONDS);
        busy = (read_server_clock() - start) / IDLE_SECONDS;
    } while (busy > 0.05);
}

static void measure_fan(void)
{
    open_all();
    for (int i = 0; i < option.connections; i++)
        connections[i].number = 0;
    wait_until_idle();
    publish_for(option.warmup);
    delays.count = 0;
    start_measuring();
    publish_for(option.seconds);
    stop_measuring();
    close_all();
}

static const struct mode modes[] = {
    {"echo", measure_echo, count_opened, count_echo, count_ended},
    {"connect", measure_connect, send_message, send_close, connect_again},
    {"burst", measure_burst, send_next, count_opened_or_echo, count_ended},
    {"fan", measure_fan, count_opened, count_delivery, count_ended},
};

static const struct mode *find_mode(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(modes[i].name, name))
            return &modes[i];
    fail(NULL, "--mode takes echo, connect, burst or fan, got %s", name);
}

static void parse_options(int count, char **words)
{
    enum { HOST = 1, PORT, PATH, CONNECTIONS, SIZE, WARMUP, SECONDS, BINARY, SAME, SERVER_PID,
           COOKIE, SOURCES, MODE, PUBLISHER_PORT, WINDOW };
    static const struct option names[] = {
        {"host", required_argument, NULL, HOST},
        {"port", required_argument, NULL, PORT},
        {"path", required_argument, NULL, PATH},
        {"sources", required_argument, NULL, SOURCES},
        {"mode", required_argument, NULL, MODE},
        {"cookie", required_argument, NULL, COOKIE},
        {"connections", required_argument, NULL, CONNECTIONS},
        {"size", required_argument, NULL, SIZE},
        {"warmup", required_argument, NULL, WARMUP},
        {"seconds", required_argument, NULL, SECONDS},
        {"binary", no_argument, NULL, BINARY},
        {"same-payload", no_argument, NULL, SAME}, /* for a server that cannot echo, only answer */
        {"publisher-port", required_argument, NULL, PUBLISHER_PORT},
        {"window", required_argument, NULL, WINDOW},
        {"server-pid", required_argument, NULL, SERVER_PID},
        {0}};
    for (int name; (name = getopt_long(count, words, "", names, NULL)) != -1;) {
        switch (name) {
        case HOST: option.host = optarg; break;
        case PORT: option.port = atoi(optarg); break;
        case PUBLISHER_PORT: option.publisher_port = atoi(optarg); break;
        case WINDOW: option.window = atoi(optarg); break;
        case PATH: option.path = optarg; break;
        case MODE: mode = find_mode(optarg); break;
        case SOURCES: option.sources = atoi(optarg); break;
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
    mode = modes;
    parse_options(count, words);
    if (option.window < 1 || option.window > MAX_WINDOW)
        fail(NULL, "--window takes 1 to %d", MAX_WINDOW);
    connections = calloc(option.connections, sizeof *connections);
    epoll = epoll_create1(0);
    build_message();
    mode->measure();
    return 0;
}
