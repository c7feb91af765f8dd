/* A stand-in for libnvidia-ml.so.1, with only what the probe asks. It describes the machine in the file that
 * NVML_STUB names; each line is one of
 *     init CODE                                  what nvmlInit answers
 *     driver VERSION                             cuda NUMBER (13000 is 13.0)
 *     card TOTAL_MIB USED_MIB MAJOR MINOR CODE NAME…   CODE: what every question about this card answers (0: well)
 *     holder CARD PID MIB
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1024ULL * 1024ULL)
enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 };

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gpu_instance, compute_instance; } Process;
static struct { unsigned long long total, used; int major, minor, code; char name[96]; } cards[16];
static struct { unsigned int card, pid; unsigned long long mib; } holders[16];
static unsigned int card_count, holder_count;
static int init_code, cuda = 13000;
static char driver[80] = "580.65.06";

int nvmlInitWithFlags(unsigned int flags) {
    char line[256];
    FILE *file = fopen(getenv("NVML_STUB"), "r");
    (void)flags;
    if (!file) return 999;
    card_count = holder_count = 0;
    while (fgets(line, sizeof line, file)) {
        unsigned long long a, b;
        int major, minor, code;
        char name[96];
        if (sscanf(line, "init %d", &init_code) == 1) continue;
        if (sscanf(line, "driver %79s", driver) == 1) continue;
        if (sscanf(line, "cuda %d", &cuda) == 1) continue;
        if (sscanf(line, "card %llu %llu %d %d %d %95[^\n]", &a, &b, &major, &minor, &code, name) == 6) {
            cards[card_count].total = a, cards[card_count].used = b;
            cards[card_count].major = major, cards[card_count].minor = minor, cards[card_count].code = code;
            strcpy(cards[card_count++].name, name);
        } else if (sscanf(line, "holder %d %d %llu", &major, &minor, &a) == 3) {
            holders[holder_count].card = major, holders[holder_count].pid = minor, holders[holder_count++].mib = a;
        }
    }
    fclose(file);
    return init_code;
}

int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : "An error of the stub"; }
int nvmlSystemGetDriverVersion(char *text, unsigned int size) { snprintf(text, size, "%s", driver); return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = cuda; return OK; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = card_count; return OK; }
int nvmlSystemGetProcessName(unsigned int pid, char *text, unsigned int size) {
    snprintf(text, size, "/usr/bin/program-%u", pid);
    return OK;
}

/* A handle is the card's number plus one, so that none is NULL. */
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index >= card_count) return NOT_FOUND;
    *device = (void *)(size_t)(index + 1);
    return cards[index].code;
}
static unsigned int number(void *device) { return (unsigned int)(size_t)device - 1; }
int nvmlDeviceGetName(void *device, char *text, unsigned int size) {
    snprintf(text, size, "%s", cards[number(device)].name);
    return OK;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    *major = cards[number(device)].major, *minor = cards[number(device)].minor;
    return OK;
}
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    if (!cards[number(device)].total) return NOT_SUPPORTED;
    memory->total = cards[number(device)].total * MIB;
    memory->used = cards[number(device)].used * MIB;
    memory->free = memory->total - memory->used;
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, Process *list) {
    unsigned int found = 0, i;
    for (i = 0; i < holder_count; i++) {
        if (holders[i].card != number(device)) continue;
        if (list && found < *count) {
            list[found].pid = holders[i].pid;
            list[found].used = holders[i].mib ? holders[i].mib * MIB : ~0ULL;
            list[found].gpu_instance = list[found].compute_instance = ~0U;
        }
        found++;
    }
    i = *count;
    *count = found;
    return found && (!list || i < found) ? TOO_SMALL : OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned int *count, Process *list) {
    (void)device, (void)list;
    *count = 0;
    return OK;
}
