/* Many requests over a few connections while the table is swapped every 100 ms: resident memory after a warm-up and at the
 * end, of the whole process (this client included, which holds nothing between requests). */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "lane.h"

enum { AT_ONCE = 32, PER_CONNECTION = 50000, PATIENCE_MS = 60000, ALLOWED_KIB = 1024 };

static lane the_lane;
static bool stopping;

static void *own(void *argument)
{
  while (!__atomic_load_n(&stopping, __ATOMIC_ACQUIRE)) {
    lane_tend(argument);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
  return NULL;
}

static long resident_kib(void)
{
  long pages, resident;
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file && fscanf(file, "%ld %ld", &pages, &resident) == 2);
  fclose(file);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void turn(client *c, int fd, sc_buf *out)
{
  uint8_t bytes[64 << 10];
  client_output(c, out);
  sc_str ready = sc_buf_view(out);
  if (ready.len > 0) {
    ssize_t sent = send(fd, ready.data, ready.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) sc_buf_take(out, (size_t)sent);
  }
  struct pollfd poll_fd = {.fd = fd, .events = (short)(POLLIN | (sc_buf_size(out) > 0 ? POLLOUT : 0))};
  CHECK(poll(&poll_fd, 1, PATIENCE_MS) == 1);
  ssize_t len = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
  CHECK(len != 0);
  if (len > 0) CHECK(client_input(c, (sc_str){bytes, (size_t)len}));
}

/* Envoy's way and the plain one, half and half. */
static void ask(uint64_t count)
{
  uint64_t generation;
  int fd = lane_connect(&the_lane, &generation);
  CHECK(fd >= 0);
  client *c = client_new(1 << 20);
  c->expected = the_lane.fixed->answers;
  sc_buf out = {0};
  while (c->answered < count) {
    while (c->n_waiting < AT_ONCE && c->opened < count)
      client_open(c, PROCESS, the_lane.fixed->message, c->opened % 2 ? CALL_RESETS : CALL_ENDS);
    turn(c, fd, &out);
  }
  CHECK(c->broken == 0 && c->ended_badly == 0);
  client_del(c);
  sc_buf_free(&out);
  close(fd);
}

static void ask_all(uint64_t count)
{
  for (; count > PER_CONNECTION; count -= PER_CONNECTION) ask(PER_CONNECTION);
  ask(count);
}

int main(int argc, char **argv)
{
  CHECK(argc == 3);
  uint64_t requests = strtoull(argv[2], NULL, 10);
  check_fixed fixed = check_load(argv[1]);
  the_lane = (lane){.fixed = &fixed, .n_threads = 2, .swap_every_ns = 100000000};
  lane_start(&the_lane);
  pthread_t owner;
  CHECK(pthread_create(&owner, NULL, own, &the_lane) == 0);
  ask_all(requests / 5);
  long before = resident_kib();
  uint64_t start_ns = check_now_ns();
  ask_all(requests);
  long after = resident_kib();
  printf("soak: %llu requests in %.0f s, %llu swaps, resident %ld KiB before and %ld KiB after\n",
         (unsigned long long)requests, (double)(check_now_ns() - start_ns) / 1e9, (unsigned long long)the_lane.number,
         before, after);
  __atomic_store_n(&stopping, true, __ATOMIC_RELEASE);
  pthread_join(owner, NULL);
  lane_drain(&the_lane);
  check_free(&fixed);
  CHECK(after - before <= ALLOWED_KIB);
  return 0;
}
