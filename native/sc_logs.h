/* Which access logs are open, by the name that each says of itself in its first message: how an Envoy
 * tells the sidecar what it forwards (sidecar/extproc/declaring.py). */
#ifndef SC_LOGS_H
#define SC_LOGS_H

#include <pthread.h>

#include "sc_base.h"

enum { SC_MAX_LOGS = 16, SC_MAX_LOG_NAME = 16384 };

typedef struct {
  uint32_t streams; /* how many are open under this name; 0: the place is free */
  size_t len;
  uint8_t *name;
} sc_log;

typedef struct {
  pthread_mutex_t lock;
  sc_log logs[SC_MAX_LOGS];
} sc_logs;

/* Start from zeros. */
void sc_logs_init(sc_logs *logs);
void sc_logs_free(sc_logs *logs);

/* A stream begins with this StreamAccessLogsMessage. NULL if it names no log, or one too many or too long:
 * nobody is told what such a stream forwards. Any thread. */
sc_log *sc_logs_open(sc_logs *logs, sc_str message);

/* It is over; `log` may be NULL. Any thread. */
void sc_logs_close(sc_logs *logs, sc_log *log);

/* Copies the name at this place, and gives its length; 0: the place is free. Any thread. */
size_t sc_logs_name(sc_logs *logs, size_t at, uint8_t into[SC_MAX_LOG_NAME]);

#endif
