#include "sc_logs.h"

#include <stdlib.h>

#include "sc_wire.h"

/* StreamAccessLogsMessage { Identifier identifier = 1 { Node node = 1; string log_name = 2 } } */
static int identifier_field(void *into, const sc_field *f)
{
  if (sc_is_bytes(f, 2)) *(sc_str *)into = f->bytes;
  return 0;
}

static int message_field(void *into, const sc_field *f)
{
  return sc_is_bytes(f, 1) ? sc_read_message(f->bytes, identifier_field, into) : 0;
}

void sc_logs_init(sc_logs *logs) { pthread_mutex_init(&logs->lock, NULL); }

void sc_logs_free(sc_logs *logs)
{
  for (size_t i = 0; i < SC_MAX_LOGS; i++) free(logs->logs[i].name);
  pthread_mutex_destroy(&logs->lock);
}

static sc_log *find(sc_logs *logs, sc_str name)
{
  sc_log *room = NULL;
  for (size_t i = 0; i < SC_MAX_LOGS; i++) {
    sc_log *log = &logs->logs[i];
    if (log->streams == 0)
      room = log;
    else if (sc_str_eq((sc_str){log->name, log->len}, name))
      return log;
  }
  return room;
}

static bool keep(sc_log *log, sc_str name)
{
  if (log->streams > 0) return true;
  uint8_t *copy = malloc(name.len);
  if (!copy) return false;
  memcpy(copy, name.data, name.len);
  free(log->name);
  log->name = copy;
  log->len = name.len;
  return true;
}

sc_log *sc_logs_open(sc_logs *logs, sc_str message)
{
  sc_str name = {NULL, 0};
  int rv = sc_read_message(message, message_field, &name);
  if (rv < 0 || name.len == 0 || name.len > SC_MAX_LOG_NAME) return NULL;
  pthread_mutex_lock(&logs->lock);
  sc_log *log = find(logs, name);
  if (log && !keep(log, name)) log = NULL;
  if (log) log->streams++;
  pthread_mutex_unlock(&logs->lock);
  return log;
}

void sc_logs_close(sc_logs *logs, sc_log *log)
{
  if (!log) return;
  pthread_mutex_lock(&logs->lock);
  log->streams--;
  pthread_mutex_unlock(&logs->lock);
}

size_t sc_logs_name(sc_logs *logs, size_t at, uint8_t into[SC_MAX_LOG_NAME])
{
  pthread_mutex_lock(&logs->lock);
  const sc_log *log = &logs->logs[at];
  size_t len = log->streams > 0 ? log->len : 0;
  if (len > 0) memcpy(into, log->name, len);
  pthread_mutex_unlock(&logs->lock);
  return len;
}
