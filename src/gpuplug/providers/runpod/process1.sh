# The first process of a pod, after the start command: the image's own start script, then nothing, for ever.
# It sets no trap, so that as process 1 it ignores SIGTERM: the seconds between that and SIGKILL belong to the cell.
own=${GP_IMAGE_START:-/start.sh}
[ ! -x "$own" ] || "$own" &
home=${GP_HOME:-${HOME:-/root}}
key=${GP_ETC_SSH:-/etc/ssh}/ssh_host_ed25519_key
umask 077
while :; do
  # A stop takes the container's disk: the host key that was made here must outlive it.
  if [ "$GP_KEEP" ] && [ -e "$home/.gpuplug/rotated" ] && ! cmp -s "$key" "$GP_KEEP/host_key"; then
    cp "$key" "$GP_KEEP/host_key.new" && mv -f "$GP_KEEP/host_key.new" "$GP_KEEP/host_key"
  fi
  # A shell waits for whatever ends meanwhile, also for what has lost its parent.
  sleep "${GP_PERIOD:-5}"
done
