/* Rows under abuse, for sanitizers to watch: `rows_abuse MESSAGE damage` takes damaged messages and folds
 * damaged journals; `rows_abuse MESSAGE threads` takes on three threads while one folds. Exits 1 if what was
 * taken is not what was folded. tests/native/test_rows_sanitized.py builds and runs it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "sc_rows.h"

enum { ENTRIES = 2, TAKERS = 3, EACH = 2000, DAMAGED = 100000, NOW_S = 1800000000, MEMORY = 1 << 22 };

static sc_rows *rows;
static uint8_t *memory;
static uint8_t message[1 << 16];
static size_t len;
static const uint64_t now_us = (uint64_t)NOW_S * 1000000;

/* xorshift, seeded: every run is the same run */
static uint64_t chance(uint64_t below)
{
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state % below;
}

/* Folds the half that is ready; false if none is. */
static bool fold(uint64_t *total)
{
  uint64_t half = sc_rows_turn(rows);
  if (half == 0) return false;
  size_t at = 0;
  const sc_row *found;
  int count;
  while ((count = sc_rows_fold(rows, half, &at, &found)) > 0)
    for (int i = 0; i < count; i++) *total += found[i].sums[SC_CELL_COMPLETED];
  sc_rows_release(rows, half);
  return true;
}

static void take_damaged(void)
{
  /* Exactly as long as it is, so that one byte beyond it is seen. */
  size_t cut = chance(3) ? len : chance(len);
  uint8_t *bytes = malloc(cut + 1);
  memcpy(bytes, message, cut);
  for (uint64_t left = chance(5); left > 0 && cut > 0; left--) bytes[chance(cut)] = (uint8_t)chance(256);
  uint8_t *exact = realloc(bytes, cut ? cut : 1);
  sc_rows_take(rows, (sc_str){exact, cut}, now_us);
  free(exact);
}

static int damage(void)
{
  uint64_t total = 0;
  for (int i = 0; i < DAMAGED; i++) {
    take_damaged();
    if (i % 16) continue;
    if (chance(2)) memory[64 + chance(4096)] = (uint8_t)chance(256);
    fold(&total);
  }
  return total > 0 ? 0 : 1;
}

static void *take(void *nothing)
{
  for (int i = 0; i < EACH; i++) sc_rows_take(rows, (sc_str){message, len}, now_us);
  return nothing;
}

static void *know(void *nothing)
{
  char name[16];
  for (int i = 0; i < EACH; i++) {
    sc_str made = {(uint8_t *)name, (size_t)snprintf(name, sizeof name, "v%d", i)};
    sc_rows_begin_version(rows, made);
    if (i % 3) sc_rows_change_odds(rows, i % 2 ? SC_LITERAL("chat") : made, made);
    sc_rows_know_variant(rows, made, SC_LITERAL("canary"));
  }
  return nothing;
}

static int threads(void)
{
  pthread_t started[TAKERS + 1];
  for (int i = 0; i < TAKERS; i++) pthread_create(&started[i], NULL, take, NULL);
  pthread_create(&started[TAKERS], NULL, know, NULL);
  uint64_t total = 0, given = (uint64_t)TAKERS * EACH * ENTRIES;
  while (total + sc_rows_counted(rows, SC_OVERRUN) < given) fold(&total);
  for (int i = 0; i <= TAKERS; i++) pthread_join(started[i], NULL);
  return total == sc_rows_counted(rows, SC_TAKEN) ? 0 : 1;
}

int main(int argc, char **argv)
{
  FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
  if (!file) return 2;
  len = fread(message, 1, sizeof message, file);
  fclose(file);
  memory = aligned_alloc(64, MEMORY);
  memset(memory, 0, MEMORY);
  if (sc_rows_new(&rows, memory, MEMORY, 64) < 0) return 2;
  sc_rows_know_version(rows, SC_LITERAL("v1"));
  sc_rows_know_variant(rows, SC_LITERAL("chat"), SC_LITERAL("canary"));
  int failed = strcmp(argv[2], "damage") == 0 ? damage() : threads();
  sc_rows_del(rows);
  free(memory);
  return failed;
}
