#include "sc_recent.h"

int sc_recent_init(sc_recent *recent, size_t room)
{
  *recent = (sc_recent){0};
  if (sc_marks_init(&recent->young, room) < 0 || sc_marks_init(&recent->old, room) < 0) {
    sc_recent_free(recent);
    return SC_ERR_NOMEM;
  }
  return 0;
}

void sc_recent_free(sc_recent *recent)
{
  sc_marks_free(&recent->young);
  sc_marks_free(&recent->old);
}

static void turn(sc_recent *recent)
{
  sc_marks emptied = recent->old;
  recent->forgotten += emptied.len - recent->moved;
  sc_marks_clear(&emptied);
  recent->old = recent->young;
  recent->young = emptied;
  recent->moved = 0;
}

unsigned sc_recent_mark(sc_recent *recent, uint64_t hash, unsigned marks)
{
  unsigned had = sc_marks_get(&recent->young, hash);
  if (had) {
    if ((had | marks) != had) sc_marks_add(&recent->young, hash, marks);
    return had;
  }
  had = sc_marks_get(&recent->old, hash);
  if (recent->young.len == recent->young.room) {
    turn(recent);
  } else if (had) {
    recent->moved++;
  }
  sc_marks_add(&recent->young, hash, had | marks);
  return had;
}

bool sc_recent_has(const sc_recent *recent, uint64_t hash)
{
  return sc_marks_get(&recent->young, hash) || sc_marks_get(&recent->old, hash);
}
