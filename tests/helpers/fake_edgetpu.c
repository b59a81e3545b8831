/* A delegate library as the inference runtime loads it, with an Edge TPU's ways of failing.

   It takes over no operator, so models run on the CPU's kernels "under the delegate".
   EDGEINSPECT_FAKE_EDGETPU: ok, none (no device), crash, hang, flood, balloon, leave, look (say what
   it is confined to). EDGEINSPECT_FAKE_EDGETPU_LOG: a file for what it says, its options too. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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
  const char *found = getenv("EDGEINSPECT_FAKE_EDGETPU");
  return found ? found : "ok";
}

static void say(const char *key, long value) {
  FILE *file = fopen(getenv("EDGEINSPECT_FAKE_EDGETPU_LOG"), "a");
  fprintf(file, "%s=%ld\n", key, value);
  fclose(file);
}

static long limit(int which) {
  struct rlimit found;
  getrlimit(which, &found);
  return (long)found.rlim_cur;
}

static void look(void) {
  int signal = 0;
  prctl(PR_GET_PDEATHSIG, &signal);
  say("dies_with_parent_by", signal);
  say("own_group", getpgrp() == getpid() && getsid(0) == getpid());
  say("core", limit(RLIMIT_CORE));
  say("file", limit(RLIMIT_FSIZE));
  say("data", limit(RLIMIT_DATA));
  say("seconds", limit(RLIMIT_CPU));
  say("secret", getenv("SECRET") != NULL);
}

static void balloon(void) {
  const size_t size = 32 << 20;
  char *taken;
  while ((taken = malloc(size))) memset(taken, 1, size);
  fputs("std::bad_alloc\n", stderr);
  abort();
}

static int prepare(void *context, Delegate *delegate) {
  (void)context, (void)delegate;
  if (!strcmp(mode(), "crash")) abort();
  if (!strcmp(mode(), "hang")) {
    if (getenv("EDGEINSPECT_FAKE_EDGETPU_LOG")) say("pid", getpid());
    pause();
  }
  if (!strcmp(mode(), "look")) look();
  if (!strcmp(mode(), "balloon")) balloon();
  if (!strcmp(mode(), "leave")) _exit(0);
  while (!strcmp(mode(), "flood")) fputs("the model speaks and speaks\n", stderr);
  return 0;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                        void (*report)(const char *)) {
  const char *log = getenv("EDGEINSPECT_FAKE_EDGETPU_LOG");
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
