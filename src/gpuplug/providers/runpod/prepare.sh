#!/bin/sh
# Between the switch and the host key: gives the image an SSH server, and brings back what an earlier container of this
# pod left on its volume. usage: sh prepare.sh, from the folder of the switch; GP_KEEP names the volume's folder or nothing.
umask 077
state=${0%/*}
# shellcheck source=/dev/null
. "$state/env"
log=$state/prepare.log
server() {
  [ -x "$GP_SSHD" ] && command -v ssh-keygen >/dev/null
}
install() {
  if command -v apt-get; then
    # One broken list of packages among many must not keep the others from being used.
    DEBIAN_FRONTEND=noninteractive apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends openssh-server
  elif command -v apk; then
    apk add --no-cache openssh
  elif command -v dnf; then
    dnf install -q -y openssh-server openssh-clients
  elif command -v microdnf; then
    microdnf install -y openssh-server openssh-clients
  elif command -v yum; then
    yum install -q -y openssh-server openssh-clients
  else
    echo "no apt-get, apk, dnf or yum"
  fi
}
if ! server; then
  echo "gpuplug: the image has no SSH server, installing one"
  install >"$log" 2>&1 </dev/null
  server || echo "gpuplug-failed no SSH server could be installed: $(tail -n 1 "$log" | cut -c 1-200)"
fi
[ "${GP_KEEP-}" ] && mkdir -p "$GP_KEEP/kernels" "$GP_KEEP/work" || exit 0
# Journals and working folders are written to the volume from now on.
[ -e "$state/kernels" ] || ln -s "$GP_KEEP/kernels" "$state/kernels"
[ -e "$GP_HOME/gpuplug" ] || ln -s "$GP_KEEP/work" "$GP_HOME/gpuplug"
# The key that was made at first contact is the one that the client has pinned.
if [ -s "$GP_KEEP/host_key" ] && [ ! -e "$state/rotated" ]; then
  rm -f "$GP_ETC_SSH"/ssh_host_*_key "$GP_ETC_SSH"/ssh_host_*_key.pub
  cp "$GP_KEEP/host_key" "$GP_ETC_SSH/ssh_host_ed25519_key" && : >"$state/rotated"
fi
