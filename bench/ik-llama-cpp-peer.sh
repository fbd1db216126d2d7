#!/bin/sh
# Measures ik_llama.cpp for `quire bench compare`. Build its programs llama-bench and llama-batched-bench for this processor
# (-DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF), and name the folder that has them:
#
#     ./quire bench compare --model FILE --peer-cmd 'IK_LLAMA_CPP=build/bin sh bench/ik-llama-cpp-peer.sh'
#
# It repacks the weights when it loads them (-rtr), which was faster in every case that was tried, and uses flash attention. IK_OPTIONS
# adds options for both programs, such as `-ctk q8_0 -ctv q8_0`. BENCH_MODEL and the other variables are described by
# `quire bench compare --help`.
set -eu
bin=${IK_LLAMA_CPP:?name the folder with llama-bench and llama-batched-bench of ik_llama.cpp}
sequences=$(printf %s "${BENCH_SEQUENCES:?run this as the --peer-cmd of quire bench compare}" | tr -d ' []')
most=$(printf %s "$sequences" | tr ',' '\n' | sort -n | tail -1)
if [ "${BENCH_PROMPT:-0}" -gt 0 ]; then
    "$bin/llama-bench" -m "$BENCH_MODEL" -t "$BENCH_THREADS" -p "$BENCH_PROMPT" -n 0 -r 1 -rtr 1 -fa 1 ${IK_OPTIONS:-} 2>/dev/null |
        awk -F'|' '/pp[0-9]+/ { split($(NF - 1), speed, " "); print "prompt " speed[1] }'
fi
# The table comes with the log. A context of less than 512 tokens prints none.
"$bin/llama-batched-bench" -m "$BENCH_MODEL" -t "$BENCH_THREADS" -c $((most * (BENCH_CONTEXT + BENCH_GENERATE + 8) + 512)) \
    -npp "$BENCH_CONTEXT" -ntg "$BENCH_GENERATE" -npl "$sequences" -rtr -fa on ${IK_OPTIONS:-} 2>&1 |
    awk -F'|' '/^\| +[0-9]+ \|/ { gsub(/ /, ""); print "decode " $4 " " $9 }'
