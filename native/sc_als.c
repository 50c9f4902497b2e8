#define _GNU_SOURCE
#include "sc_als.h"

#include <time.h>

static sc_status take(void *context, sc_call *call, sc_str message)
{
  (void)call;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  sc_rows_take(context, message, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
  return SC_GOES_ON;
}

sc_method sc_als_method(sc_rows *rows)
{
  return (sc_method){.path = SC_LITERAL("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"),
                     .endless = true,
                     .message = take,
                     .context = rows};
}
