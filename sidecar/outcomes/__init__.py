"""What became of requests: from Envoy's access log to rows that the controller can rely on.

A row counts the requests that started in one second under one decision (`analysis.cells` says what
it counts, `twin_accesslog` how). Rows are kept on disk until the controller has them, so that
neither side's death loses or doubles one.
"""
