#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <time.h>

void check_failed(const char *condition, const char *file, int line)
{
  fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
  abort();
}

uint64_t check_random(uint64_t *state)
{
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

uint64_t check_now_ns(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

sc_str check_read(const char *folder, const char *name)
{
  char path[4096];
  CHECK((size_t)snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", name) < sizeof path);
  FILE *file = fopen(path, "rb");
  if (!file) {
    fprintf(stderr, "%s cannot be read: `make -C native/check seeds` writes the tables\n", path);
    exit(1);
  }
  CHECK(fseek(file, 0, SEEK_END) == 0);
  long size = ftell(file);
  rewind(file);
  uint8_t *bytes = malloc((size_t)size + 1);
  CHECK(size >= 0 && bytes && fread(bytes, 1, (size_t)size, file) == (size_t)size);
  fclose(file);
  return (sc_str){bytes, (size_t)size};
}

static const int64_t now_s = 1800000000; /* NOW_S of tests/ruled.py, by which force tokens hold or not */

int check_answer(const sc_table *table, sc_str message, sc_scratch *scratch, sc_str *out)
{
  return sc_answer(table, message, now_s, scratch, out);
}

static sc_str answer_of(const sc_table *table, sc_str message)
{
  sc_scratch scratch = {0};
  sc_str out;
  CHECK(sc_scratch_init(&scratch, table) == 0 && check_answer(table, message, &scratch, &out) == 0);
  uint8_t *kept = malloc(out.len + 1);
  CHECK(kept && out.len > 0);
  memcpy(kept, out.data, out.len);
  sc_scratch_free(&scratch);
  return (sc_str){kept, out.len};
}

/* Five bytes, from 1978 to 3058. */
static void put_seconds(uint8_t out[5], uint64_t seconds)
{
  for (unsigned i = 0; i < 5; i++) out[i] = (uint8_t)((seconds >> (7 * i) & 0x7f) | (i < 4 ? 0x80 : 0));
}

/* The log's requests start two seconds before `now_s`: rows take only what is of today. */
static void make_new(sc_str log)
{
  uint8_t *at = (uint8_t *)(uintptr_t)log.data, before[5], now[5];
  put_seconds(before, (uint64_t)now_s - 2);
  put_seconds(now, (uint64_t)time(NULL));
  size_t found = 0;
  for (size_t i = 0; i + 5 <= log.len; i++) {
    if (memcmp(at + i, before, 5) != 0) continue;
    memcpy(at + i, now, 5);
    found++;
  }
  CHECK(found == 2);
}

check_fixed check_load(const char *folder)
{
  static const char *const names[] = {"a.table", "b.table"};
  check_fixed fixed = {.message = check_read(folder, "message"), .log = check_read(folder, "log")};
  make_new(fixed.log);
  for (size_t i = 0; i < 2; i++) {
    sc_str bytes = check_read(folder, names[i]);
    const char *reason = "no memory";
    if (sc_table_new(&fixed.tables[i], bytes, &reason) < 0) {
      fprintf(stderr, "%s/%s: %s: `make -C native/check seeds` writes it anew\n", folder, names[i], reason);
      exit(1);
    }
    free((void *)(uintptr_t)bytes.data);
    fixed.answers[i] = answer_of(fixed.tables[i], fixed.message);
  }
  CHECK(!sc_str_eq(fixed.answers[0], fixed.answers[1]));
  return fixed;
}

void check_free(check_fixed *fixed)
{
  for (size_t i = 0; i < 2; i++) {
    sc_table_del(fixed->tables[i]);
    free((void *)(uintptr_t)fixed->answers[i].data);
  }
  free((void *)(uintptr_t)fixed->message.data);
  free((void *)(uintptr_t)fixed->log.data);
}
