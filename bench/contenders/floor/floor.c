/* The floor: what any ext_proc server on nghttp2 and epoll costs before it does anything.
 *
 * One thread. Every message gets the same answer, which is read from a file: nothing is parsed and
 * nothing decided. Everything a fast loop does is here (one read, one write for all answers of a
 * wake-up, windows that need no updates, no memory of closed streams), and nothing else. A message is
 * taken to be one DATA frame, as Envoy sends it. Behind Envoy on the same machine only: no limits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  EVENTS = 64,
  BACKLOG = 128,
  READ_SIZE = 256 * 1024,
  GRPC_PREFIX = 5, /* one byte "not compressed", four bytes of length */
  ANSWER_MAX = 16 * 1024 - GRPC_PREFIX, /* so that it fits one DATA frame */
  WINDOW = 1 << 30,
};

typedef struct {
  uint8_t bytes[GRPC_PREFIX + ANSWER_MAX];
  size_t len;
} answer;

/* What was not written yet is bytes[start..end). */
typedef struct {
  uint8_t *bytes;
  size_t start, end, capacity;
} buffer;

typedef struct {
  nghttp2_session *session;
  const answer *answer;
  buffer out;
  int fd;
  bool waits_to_write;
} connection;

static void fail(const char *what)
{
  perror(what);
  exit(EXIT_FAILURE);
}

/* ---- one stream ---- */

#define HEADER(name, value)                                                                  \
  {(uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1,               \
   NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}

/* All that is known of a stream, as its nghttp2 user data; above the flags stands how many answers it
 * is owed. */
enum { STARTED = 1, ENDED = 2, OWED = 4 };

static uintptr_t state_of(nghttp2_session *session, int32_t stream)
{
  return (uintptr_t)nghttp2_session_get_stream_user_data(session, stream);
}

static void set_state(nghttp2_session *session, int32_t stream, uintptr_t state)
{
  nghttp2_session_set_stream_user_data(session, stream, (void *)state);
}

static ssize_t read_answers(nghttp2_session *session, int32_t stream, uint8_t *into, size_t room,
                            uint32_t *flags, nghttp2_data_source *source, void *user)
{
  static const nghttp2_nv trailers[] = {HEADER("grpc-status", "0")};
  const answer *fixed = source->ptr;
  uintptr_t state = state_of(session, stream);
  size_t len = 0;
  (void)user;
  for (; state >= OWED && room - len >= fixed->len; state -= OWED) {
    memcpy(into + len, fixed->bytes, fixed->len);
    len += fixed->len;
  }
  set_state(session, stream, state);
  if (state >= OWED) {
    return len > 0 ? (ssize_t)len : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  /* The stream stays open for whatever ends it: Envoy's reset, or trailers. */
  *flags = NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
  if (state & ENDED && nghttp2_submit_trailer(session, stream, trailers, 1) != 0) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  return (ssize_t)len;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
  static const nghttp2_nv headers[] = {
      HEADER(":status", "200"),
      HEADER("content-type", "application/grpc"),
  };
  const connection *from = user;
  const nghttp2_data_provider answers = {.source.ptr = (void *)(uintptr_t)from->answer,
                                         .read_callback = read_answers};
  if (frame->hd.type != NGHTTP2_DATA) {
    return 0;
  }
  int32_t stream = frame->hd.stream_id;
  uintptr_t before = state_of(session, stream);
  bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
  uintptr_t state = before | STARTED | (ends ? ENDED : 0u);
  set_state(session, stream, state + (frame->hd.length > 0 ? OWED : 0u));
  if (!(before & STARTED)) {
    return nghttp2_submit_response(session, stream, headers, sizeof headers / sizeof *headers,
                                   &answers);
  }
  /* Where answers are owed, nghttp2 will ask for this one as well. */
  return before >= OWED ? 0 : nghttp2_submit_data(session, NGHTTP2_FLAG_NONE, stream, &answers);
}

/* ---- one connection ---- */

static nghttp2_session *new_session(connection *user)
{
  static const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1 << 20},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  nghttp2_session_callbacks *callbacks = NULL;
  nghttp2_option *option = NULL;
  nghttp2_session *session = NULL;
  if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0) {
    fail("nghttp2");
  }
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  /* Envoy resets every stream: at nghttp2's default rate limit the connection would end. */
  nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX, UINT64_MAX);
  nghttp2_option_set_no_closed_streams(option, 1);
  if (nghttp2_session_server_new2(&session, callbacks, user, option) != 0 ||
      nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings,
                              sizeof settings / sizeof *settings) != 0 ||
      nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, WINDOW) != 0) {
    fail("nghttp2");
  }
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  return session;
}

static void drop(connection *gone)
{
  close(gone->fd);
  nghttp2_session_del(gone->session);
  free(gone->out.bytes);
  free(gone);
}

static void append(buffer *out, const uint8_t *bytes, size_t len)
{
  if (out->end + len > out->capacity) {
    out->capacity = 2 * (out->end + len);
    out->bytes = realloc(out->bytes, out->capacity);
    if (!out->bytes) {
      fail("realloc");
    }
  }
  memcpy(out->bytes + out->end, bytes, len);
  out->end += len;
}

/* Everything that nghttp2 has to say goes into one buffer, and that into one write. */
static bool write_all(connection *to, int epoll)
{
  buffer *out = &to->out;
  const uint8_t *bytes = NULL;
  ssize_t len;
  while ((len = nghttp2_session_mem_send(to->session, &bytes)) > 0) {
    append(out, bytes, (size_t)len);
  }
  if (len < 0) {
    return false;
  }
  if (out->start < out->end) {
    ssize_t written = send(to->fd, out->bytes + out->start, out->end - out->start, MSG_NOSIGNAL);
    if (written < 0 && errno != EAGAIN) {
      return false;
    }
    out->start += written > 0 ? (size_t)written : 0;
  }
  bool left = out->start < out->end;
  if (!left) {
    out->start = out->end = 0;
  }
  if (left != to->waits_to_write) {
    struct epoll_event wanted = {.events = left ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = to};
    to->waits_to_write = left;
    return epoll_ctl(epoll, EPOLL_CTL_MOD, to->fd, &wanted) == 0;
  }
  return true;
}

/* One read: what it leaves behind makes the next epoll_wait return at once. */
static bool read_some(connection *from)
{
  static uint8_t bytes[READ_SIZE];
  ssize_t len = recv(from->fd, bytes, sizeof bytes, 0);
  if (len <= 0) {
    return len < 0 && errno == EAGAIN;
  }
  return nghttp2_session_mem_recv(from->session, bytes, (size_t)len) == len;
}

/* ---- the loop ---- */

static void welcome(int listener, int epoll, const answer *fixed)
{
  const int on = 1;
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    return;
  }
  /* Refused on a Unix socket, which has no such thing. */
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  connection *made = calloc(1, sizeof *made);
  if (!made) {
    fail("calloc");
  }
  made->fd = fd;
  made->answer = fixed;
  made->session = new_session(made);
  struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = made};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted) != 0 || !write_all(made, epoll)) {
    drop(made);
  }
}

static _Noreturn void serve(int listener, const answer *fixed)
{
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event events[EVENTS] = {{.events = EPOLLIN, .data.ptr = NULL}};
  if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &events[0]) != 0) {
    fail("epoll");
  }
  for (;;) {
    int ready = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      connection *one = events[i].data.ptr;
      if (!one) {
        welcome(listener, epoll, fixed);
      } else if ((events[i].events & ~(unsigned)EPOLLOUT && !read_some(one)) ||
                 !write_all(one, epoll)) {
        drop(one);
      }
    }
  }
}

/* ---- start ---- */

static int listen_on_path(const char *path)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    fail(path);
  }
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
      listen(fd, BACKLOG) != 0) {
    fail(path);
  }
  return fd;
}

/* On a free port of loopback, which is printed. */
static int listen_on_tcp(void)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (const struct sockaddr *)&address, len) != 0 ||
      listen(fd, BACKLOG) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
    fail("loopback");
  }
  printf("127.0.0.1:%u\n", (unsigned)ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

static void read_file(const char *path, answer *into)
{
  FILE *file = fopen(path, "rb");
  size_t len = file ? fread(into->bytes + GRPC_PREFIX, 1, ANSWER_MAX, file) : 0;
  if (!file || ferror(file)) {
    fail(path);
  }
  fclose(file);
  into->bytes[0] = 0;
  for (size_t i = 0; i < 4; i++) {
    into->bytes[1 + i] = (uint8_t)(len >> (24 - 8 * i));
  }
  into->len = GRPC_PREFIX + len;
}

int main(int argc, char **argv)
{
  static const struct option known[] = {{"answer", required_argument, NULL, 'a'},
                                        {"socket", required_argument, NULL, 's'},
                                        {NULL, 0, NULL, 0}};
  static answer fixed;
  const char *file = NULL, *path = NULL;
  int letter;
  while ((letter = getopt_long(argc, argv, "", known, NULL)) == 'a' || letter == 's') {
    *(letter == 'a' ? &file : &path) = optarg;
  }
  if (letter != -1 || !file) {
    fprintf(stderr, "usage: floor --answer FILE [--socket PATH]\n");
    return EXIT_FAILURE;
  }
  read_file(file, &fixed);
  serve(path ? listen_on_path(path) : listen_on_tcp(), &fixed);
}
