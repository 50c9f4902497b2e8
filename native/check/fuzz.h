/* libFuzzer's face; replay.c has the same one, for those who only run what is stored. */
#ifndef FUZZ_H
#define FUZZ_H

#include "check.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
