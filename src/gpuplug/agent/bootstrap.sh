#!/bin/sh
# The start command: arms the switch, puts the host key in place, lets the user in, names the host key in the log.
# Runs as root at each container start. What it needs stands before it as assignments; docs/protocol.md, section 6.
# A step that fails must not keep the next one from running, so there is no `set -e`.
umask 077
home=${GP_HOME:-${HOME:-/root}}
etc=${GP_ETC_SSH:-/etc/ssh}
init=${GP_INIT_ENVIRON:-/proc/1/environ}
state=$home/.gpuplug
key=$etc/ssh_host_ed25519_key
mkdir -p "$state/switch" "$home/.ssh" "$etc"
chmod 700 "$state" "$state/switch" "$home/.ssh"
host_key=$GP_HOST_KEY
unset GP_HOST_KEY
# What is in effect, for the switch and for whoever rotates the host key later. No secret is in it; `set` writes what a shell can read.
GP_HOME=$home GP_ETC_SSH=$etc GP_INIT_ENVIRON=$init
: "${GP_UPTIME:=/proc/uptime}" "${GP_PERIOD:=5}" "${GP_SSHD_PID:=}" "${GP_SSHD:=/usr/sbin/sshd}" "${GP_URL_TAIL:=}"
set | grep '^GP_' >"$state/env.new"
mv -f "$state/env.new" "$state/env"
# 1. The switch, in a session of its own so that nothing that ends this one ends it.
if command -v setsid >/dev/null 2>&1; then
  setsid sh "$state/deadman.sh" "$state" </dev/null >/dev/null 2>&1 &
else
  nohup sh "$state/deadman.sh" "$state" </dev/null >/dev/null 2>&1 &
fi
# What images of this provider lack, and what an earlier container left, where the adapter has put a script for it.
[ ! -e "$state/prepare.sh" ] || sh "$state/prepare.sh"
# 2. The host key; one that was made here at first contact stays. Others came with the image: strangers may hold them.
if [ ! -e "$state/rotated" ]; then
  {
    echo "-----BEGIN OPENSSH PRIVATE KEY-----"
    echo "$host_key"
    echo "-----END OPENSSH PRIVATE KEY-----"
  } >"$key.new"
  rm -f "$etc"/ssh_host_*_key "$etc"/ssh_host_*_key.pub
  mv -f "$key.new" "$key"
fi
unset host_key
public=$(ssh-keygen -y -f "$key" | cut -d ' ' -f 1,2)
echo "$public" >"$key.pub"
chmod 644 "$key.pub"
# 3. The user's key.
if ! grep -qF "$GP_USER_KEY" "$home/.ssh/authorized_keys" 2>/dev/null; then
  # A last line without its end must not swallow ours.
  printf '\nssh-ed25519 %s gpuplug\n' "$GP_USER_KEY" >>"$home/.ssh/authorized_keys"
fi
chmod 600 "$home/.ssh/authorized_keys"
# 4. Tell sshd to read the key again, or start one.
pid=
if [ "$GP_SSHD_PID" ]; then
  read -r pid _ 2>/dev/null <"$GP_SSHD_PID"
elif [ -r /run/sshd.pid ]; then
  read -r pid _ </run/sshd.pid
else
  for name in /proc/[0-9]*/comm; do
    read -r word 2>/dev/null <"$name" || continue
    found=${name#/proc/}
    found=${found%/comm}
    if [ "$word" = sshd ] && [ "$found" -lt "${pid:-999999999}" ]; then pid=$found; fi
  done
fi
case $pid in '' | *[!0-9]*) pid= ;; esac
if ! { [ "$pid" ] && kill -HUP "$pid" 2>/dev/null; }; then
  [ "$GP_SSHD" != /usr/sbin/sshd ] || mkdir -p /run/sshd
  "$GP_SSHD" </dev/null >/dev/null 2>&1
fi
# 5. The line that lets the client pin the key before it connects: the one that is served, where it can be asked for.
#    Some providers log only what process 1 prints.
for turn in 1 2 3 4 5; do
  seen=$(ssh-keyscan -T 2 -t ed25519 -p "${GP_SSH_PORT:-22}" 127.0.0.1 2>/dev/null | cut -d ' ' -f 2,3)
  if [ "$seen" = "$public" ] || [ "$turn" = 5 ]; then break; fi
  sleep 1
done
line="gpuplug-hostkey $GP_NONCE ${seen:-$public}"
echo "$line"
log=${init%/environ}/fd/1
if [ -w "$log" ]; then echo "$line" >>"$log"; fi
