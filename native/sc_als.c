#define _GNU_SOURCE
#include "sc_als.h"

#include <time.h>

static sc_status take(void *context, sc_call *call, sc_str message)
{
  void **log = sc_call_data(call);
  if (!*log) *log = sc_logs_open(sc_rows_logs(context), message);
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  sc_rows_take(context, message, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
  return SC_GOES_ON;
}

static void closed(void *context, sc_call *call)
{
  sc_logs_close(sc_rows_logs(context), *sc_call_data(call));
}

sc_method sc_als_method(sc_rows *rows)
{
  return (sc_method){.path = SC_LITERAL("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"),
                     .endless = true,
                     .message = take,
                     .closed = closed,
                     .context = rows};
}
