/* A real server on a real socket that comes and goes, for clients on other threads. */
#ifndef LANE_H
#define LANE_H

#include "check.h"
#include "sc_rows.h"
#include "sc_server.h"

typedef struct {
  /* Chosen by whoever starts it. */
  const check_fixed *fixed;
  bool tcp;
  size_t n_threads;
  uint64_t swap_every_ns;
  sc_rows *rows; /* of the access logs, all generations'; NULL: none are taken */
  /* Read by clients, atomically. */
  uint64_t generation; /* 0: nobody is there */
  uint64_t cut;        /* the latest generation that ended, or is about to, without finishing its calls */
  uint64_t port;
  /* The owner's. */
  sc_server *server;
  sc_edition *retired[64];
  size_t n_retired;
  uint64_t started, number, samples, swapped_ns, folded;
  bool serving;
} lane;

void lane_start(lane *l);

/* The owner's turn: swaps the table when it is time, frees what nobody reads, flips the health, takes samples, folds rows,
 * counts. */
void lane_tend(lane *l);

/* Nobody new comes; all who are there are served to their end. */
void lane_drain(lane *l);

/* Ends at once, whatever goes on. */
void lane_cut(lane *l);

/* A connected, non-blocking socket and the generation it leads to; -1 if nobody is there. */
int lane_connect(lane *l, uint64_t *generation);

#endif
