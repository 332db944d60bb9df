#!/bin/sh
# The dead man's switch: destroys this instance when nobody is in touch, or when its time or money is over.
# usage: sh deadman.sh STATE [BEGIN]    Reads STATE/env, reads and writes STATE/switch; docs/protocol.md, section 5.
# BEGIN, the uptime of the first start, is given only by the switch to itself.
# It counts on the uptime clock: wall time jumps. It trusts no file: whatever is unreadable means the terms given at start.
umask 077
state=$1
# shellcheck source=/dev/null
. "$state/env"
cd "$state/switch" || exit 1
trap '' HUP INT TERM
# One for each boot. The number alone proves nothing after a restart: another process may have it now, or this one.
if [ -z "$2" ] && ! (set -C && echo $$ >pid) 2>/dev/null; then
  read -r holder _ <pid
  if [ "$holder" ] && [ "$holder" != $$ ] && kill -0 "$holder" 2>/dev/null &&
    tr '\0' ' ' <"/proc/$holder/cmdline" | grep -qF "deadman.sh $state"; then exit 0; fi
  echo $$ >pid
fi
now=0
look() {
  # Without a readable clock the periods are counted.
  if read -r up _ <"$GP_UPTIME"; then up=${up%%.*}; else up=; fi
  case $up in '' | *[!0-9]*) now=$((now + ${GP_PERIOD%%.*})) ;; *) now=$up ;; esac
  say beat "$now"
} 2>/dev/null
say() {
  echo "$2" >"$1.new" && mv -f "$1.new" "$1"
}
# number FILE DEFAULT: the whole seconds in FILE, cut to what fits; DEFAULT when it is no number.
number() {
  word=
  { read -r word _ <"$1"; } 2>/dev/null
  word=${word%%.*}
  case $word in '' | *[!0-9]* | 0?* | ???????????*) word=$2 ;; esac
  echo "$word"
}
# The first process's environment holds the key that is good for this one instance.
variable() {
  case $1 in '' | *[!A-Z0-9_]*) return ;; esac
  tr '\0' '\n' <"$GP_INIT_ENVIRON" | sed -n "s/^$1=//p" | head -n 1
} 2>/dev/null
# call METHOD [LOOSE]: with LOOSE whoever answers need not prove who it is.
# The key goes through a pipe: in an argument every process could read it. Python's own name is turned away by some.
call() {
  if command -v curl >/dev/null; then
    printf 'header = "Authorization: Bearer %s"\n' "$key" |
      curl -q -sS -f -m 10 ${2:+-k} -X "$1" -K - "$url" && return
    look
  fi
  if wget --version 2>/dev/null | grep -q GNU; then
    # It takes no pipe: a file that is gone at once, readable by root alone.
    printf 'header = Authorization: Bearer %s\n' "$key" >wgetrc
    wget --config=wgetrc -nv -O - -T 10 -t 1 --max-redirect=0 ${2:+--no-check-certificate} --method="$1" "$url"
    code=$?
    rm -f wgetrc
    [ "$code" -ne 0 ] || return 0
    look
  fi
  printf %s "$key" | python3 -c 'import ssl, sys, urllib.request as u; print(u.urlopen(u.Request(sys.argv[2], method=sys.argv[1], headers={"Authorization": "Bearer " + sys.stdin.read(), "User-Agent": "gpuplug"}), timeout=10, context=ssl._create_unverified_context() if sys.argv[3] else None).read().decode())' "$1" "$url" "$2"
}
identify() {
  key=$(variable "$GP_KEY_VAR")
  id=$(variable "$GP_ID_VAR")
  case $id in '' | *[!A-Za-z0-9_-]*) why="no instance id in \$$GP_ID_VAR" && return 1 ;; esac
  case $key in '' | *[!A-Za-z0-9_.-]*) why="no key in \$$GP_KEY_VAR" && return 1 ;; esac
  url=$GP_URL_HEAD$id$GP_URL_TAIL
}
# Armed means: with this key this instance answers. A wrong address or a closed network is told, not assumed away.
arm() {
  identify || return 1
  reply=$(call GET 2>error) || {
    why=$(head -n 1 error | cut -c 1-120)
    return 1
  }
  why="the provider does not know instance $id"
  case $reply in *"$id"*) ;; *) return 1 ;; esac
}
# term FILE...: ask the processes in these files to end; fails when there is none.
term() {
  told=1
  for file; do
    pid=$(number "$file" 0)
    [ "$pid" -gt 1 ] && kill -TERM "$pid" 2>/dev/null && told=0
  done
  return "$told"
}
end() {
  say state "ending $1"
  # The agent lets the programs of its cells save. Kernels are told only where there is none: at the end of one it kills what is left of it.
  term "$state"/daemon-*.pid || term "$state"/kernels/*/pid
  pause=1
  while :; do
    count=$pause
    while [ "$count" -gt 0 ]; do
      sleep "$GP_PERIOD"
      look
      count=$((count - 1))
    done
    # Bare images lack roots, and a wrong clock makes every certificate invalid. The key can do no more than this.
    identify && { call DELETE || call DELETE loose; } >/dev/null 2>error
    pause=$((pause < 6 ? pause * 2 : 12))
  done
}
begin=$2
# A shell ends when it cannot fork, and a cell may use up all processes: then it starts itself again, without a fork.
trap 'exec sh "$state/deadman.sh" "$state" "$begin"' EXIT
look
begin=${2:-$now}
if [ -z "$2" ]; then
  # Deadlines of an earlier boot are over: the host's clock went on while the container stood still.
  rm -f contact lease hard budget
  [ ! -e keep ] || say keep $((begin + (GP_BUDGET > 0 ? GP_BUDGET : GP_HARD)))
  say contact "$begin"
  say lease "$GP_LEASE"
  say hard $((begin + GP_HARD))
  if [ "$GP_BUDGET" -gt 0 ]; then say budget $((begin + GP_BUDGET)); fi
  say state "unarmed not tried yet"
fi
armed=
turn=0
while :; do
  look
  contact=$(number contact "$begin")
  # A contact in the future would keep the lease for ever.
  [ "$contact" -le $((now + 60)) ] || contact=$begin
  # Results that nobody has are waited for as long as the cell's budget pays: until `keep`.
  [ $((contact + $(number lease "$GP_LEASE"))) -gt "$now" ] || [ "$(number keep 0)" -gt "$now" ] || end lease
  [ "$(number hard $((begin + GP_HARD)))" -gt "$now" ] || end hard
  # No file is no budget: the client may take it back.
  if [ -e budget ] && [ "$(number budget $((begin + (GP_BUDGET > 0 ? GP_BUDGET : GP_HARD))))" -le "$now" ]; then end budget; fi
  # Tested again and again: a network can be closed and a key withdrawn later, and a client is to know that in 90 s.
  if [ $((turn % ${armed:-12})) -eq 0 ] || { [ -z "$armed" ] && [ "$turn" -lt 3 ]; }; then
    if arm; then armed=8 && say state armed; else
      # One call may fail for no reason: the next looks try again.
      [ -z "$armed" ] || turn=0
      armed= && say state "unarmed $why"
    fi
  fi
  turn=$((turn + 1))
  sleep "$GP_PERIOD"
done
