/* Runs a fuzz target over whole folders of stored inputs, and says how many there were. */
#include <dirent.h>

#include "fuzz.h"

static size_t replay(const char *folder)
{
  DIR *dir = opendir(folder);
  if (!dir) {
    fprintf(stderr, "%s cannot be read\n", folder);
    exit(1);
  }
  size_t count = 0;
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (entry->d_name[0] == '.') continue;
    sc_str bytes = check_read(folder, entry->d_name);
    uint8_t *exact = malloc(bytes.len); /* check_read leaves room for a careless reader */
    if (bytes.len > 0) memcpy(exact, bytes.data, bytes.len);
    free((void *)(uintptr_t)bytes.data);
    LLVMFuzzerTestOneInput(exact, bytes.len);
    free(exact);
    count++;
  }
  closedir(dir);
  return count;
}

int main(int argc, char **argv)
{
  LLVMFuzzerInitialize(&argc, &argv);
  for (int i = 1; i < argc; i++) printf("%zu inputs of %s\n", replay(argv[i]), argv[i]);
  return 0;
}
