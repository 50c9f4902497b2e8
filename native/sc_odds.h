/* Since which table a rollout has had the odds that it has in some other table.
 *
 * A table that comes into force changes few of its rollouts. What is counted of the others goes on, in the
 * rows and with the units of the table that gave them their odds; so an edit of one rollout means nothing
 * to its neighbours. Tables are numbered as they come, and of a rollout only those that changed it are
 * kept. No locks here. sidecar/outcomes/twin_odds.py is the specification. */
#ifndef SC_ODDS_H
#define SC_ODDS_H

#include "sc_base.h"

/* Numbers above zero by hash: open addressing, at most three quarters full. */
typedef struct {
  struct sc_numbered *places;
  size_t mask, len;
} sc_numbers;

typedef struct {
  sc_numbers tables;  /* by the hash of the version: 1 for earlier lives, then in their order */
  sc_numbers newest;  /* by the hash of the rollout: 1 + its newest change */
  struct sc_change *changes; /* in the order of their tables */
  uint32_t n_changes, room_changes;
  uint32_t number;    /* of the table in force; 1: none yet */
  uint64_t in_force;  /* its hash */
  sc_str first;       /* the first one of this life: what did not change since has its odds */
  size_t room;        /* so many tables are remembered, at most twice as many */
} sc_odds;

/* SC_ERR_NOMEM. */
int sc_odds_init(sc_odds *odds, size_t room);
void sc_odds_free(sc_odds *odds);

/* A table of an earlier life, of which nothing else is known: its odds are its own. SC_ERR_NOMEM. */
int sc_odds_know(sc_odds *odds, uint64_t hash);

/* A table comes into force; nothing if it is already. `hash` is the version's. SC_ERR_NOMEM. */
int sc_odds_begin(sc_odds *odds, uint64_t hash, sc_str version);

/* The table in force, of this version, gave this rollout (a hash) odds that it did not have before; of the
 * first table that is true of all of them, and need not be said. SC_ERR_NOMEM. */
int sc_odds_change(sc_odds *odds, uint64_t rollout, sc_str version);

/* The version of the table since which the rollout had the odds that it has in the table `version`, a view
 * that is valid until the next change; nothing at all where that table is not known. */
sc_str sc_odds_since(const sc_odds *odds, uint64_t hash, sc_str version, uint64_t rollout);

#endif
