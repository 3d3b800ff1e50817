/* One end of a channel by guests/include/bulkhead.h, for the test beside it: memory comes in, is used, goes out. */
#include "bulkhead.h"

#include <stdio.h>
#include <stdlib.h>

#define BYTES 512

static uint64_t memory[BYTES / 8];
static uint64_t registers[5];

/* usage: end SIDE OWN PEER [MESSAGE]...  Memory on stdin and stdout; what was received on stderr, a line each. */
int main(int count, char **words)
{
    struct bulkhead_link link;
    char buffer[256];
    long length;
    int state, n;

    if (count < 4 || fread(memory, 1, BYTES, stdin) != BYTES)
        return 2;
    registers[BULKHEAD_REG_INFO / 8] = 1 | (uint64_t)atoi(words[1]) << 8 | 3 << 16;
    registers[BULKHEAD_REG_OWN / 8] = (uint64_t)atoi(words[2]) << 32 | 1;
    registers[BULKHEAD_REG_PEER / 8] = (uint64_t)atoi(words[3]) << 32 | 1;
    if (bulkhead_link_init(&link, memory, BYTES, registers) != 0)
        return 3;
    state = bulkhead_link_meet(&link);
    fprintf(stderr, "state %d\n", state);
    while ((length = bulkhead_link_receive(&link, buffer, sizeof buffer)) >= 0)
        fprintf(stderr, "message %.*s\n", (int)length, buffer);
    if (state != BULKHEAD_WAITING && length != BULKHEAD_NOTHING)
        fprintf(stderr, "ended by %ld\n", length);
    for (n = 4; n < count; n++)
        if ((length = bulkhead_link_send(&link, words[n], strlen(words[n]))) != 0)
            fprintf(stderr, "sent %s: %ld\n", words[n], length);
    bulkhead_ring(registers);
    return fwrite(memory, 1, BYTES, stdout) == BYTES ? 0 : 4;
}
