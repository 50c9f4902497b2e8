/* envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs: entries come, nothing is answered. */
#ifndef SC_ALS_H
#define SC_ALS_H

#include "sc_call.h"
#include "sc_rows.h"

/* The method; all threads may share one `rows`. What cannot be read is counted there: a stream is never
 * ended for it, because Envoy would only begin another. */
sc_method sc_als_method(sc_rows *rows);

#endif
