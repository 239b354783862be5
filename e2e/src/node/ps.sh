#!/bin/sh
# The ps of a node on which only the processes below run: PID, name and command line, with a tab between.
name=
format=
header=yes
while [ $# -gt 0 ]; do
    case $1 in
        -C | -fC) name=$2 && shift ;;
        -o | -eo | axo) format=$2 && shift ;;
        --no-headers | --no-heading) header= ;;
        -e | -A | -f | -ef | -ax | ax | -aux | aux | auxww | -efww) ;;
        *) echo "ps: this node does not know $1" >&2 && exit 2 ;;
    esac
    shift
done
case $format in *=) header= ;; esac
columns=$(echo "$format" | tr -d = | tr , ' ')
if [ -n "$header" ] && [ -z "$format" ]; then
    echo 'UID          PID    PPID  C STIME TTY          TIME CMD'
elif [ -n "$header" ]; then
    echo "$columns" | tr '[:lower:]' '[:upper:]'
fi
tab=$(printf '\t')
status=1
while IFS="$tab" read -r pid own command; do
    # Names have no more characters in the kernel.
    if [ -z "$pid" ] || { [ -n "$name" ] && [ "$(printf '%.15s' "$name")" != "$(printf '%.15s' "$own")" ]; }; then
        continue
    fi
    status=0
    if [ -z "$format" ]; then
        printf 'root %11s %7s  0 00:00 ?        00:00:00 %s\n' "$pid" 1 "$command"
        continue
    fi
    line=
    for column in $columns; do
        case $column in
            pid) value=$pid ;;
            ppid) value=1 ;;
            user | uid) value=root ;;
            comm | ucmd) value=$own ;;
            cmd | command | args) value=$command ;;
            *) echo "ps: this node does not know the column $column" >&2 && exit 2 ;;
        esac
        line="$line${line:+ }$value"
    done
    printf '%s\n' "$line"
done <<'PROCESSES'
@PROCESSES@
PROCESSES
exit "$status"
