/* A delegate library as the inference runtime loads it, with an Edge TPU's ways of failing.

   It takes over no operator, so models run on the CPU's kernels "under the delegate".
   FAKE_EDGETPU: ok, none (no device), crash, hang. FAKE_EDGETPU_LOG: a file for the options. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Delegate {
  void *data;
  int (*prepare)(void *context, struct Delegate *delegate);
  void *copy_from_buffer;
  void *copy_to_buffer;
  void *free_buffer;
  int64_t flags;
  void *opaque_builder;
} Delegate;

static const char *mode(void) {
  const char *found = getenv("FAKE_EDGETPU");
  return found ? found : "ok";
}

static int prepare(void *context, Delegate *delegate) {
  (void)context, (void)delegate;
  if (!strcmp(mode(), "crash")) abort();
  if (!strcmp(mode(), "hang")) pause();
  return 0;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                        void (*report)(const char *)) {
  const char *log = getenv("FAKE_EDGETPU_LOG");
  if (log) {
    FILE *file = fopen(log, "a");
    for (size_t i = 0; i < count; i++) fprintf(file, "%s=%s\n", keys[i], values[i]);
    fclose(file);
  }
  if (!strcmp(mode(), "none")) {
    report("no device of this kind");
    return NULL;
  }
  Delegate *made = calloc(1, sizeof *made);
  made->prepare = prepare;
  return made;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
