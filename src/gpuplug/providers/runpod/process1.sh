# The first process of a pod, after the start command: the image's own start script, then nothing, for ever.
own=${GP_IMAGE_START:-/start.sh}
home=${GP_HOME:-${HOME:-/root}}
key=${GP_ETC_SSH:-/etc/ssh}/ssh_host_ed25519_key
umask 077
# Nobody else is told that the pod is about to be taken away. This process stays, so that the few seconds until SIGKILL
# belong to the cells.
pass_on() {
  for file in "$home"/.gpuplug/kernels/*/pid; do
    read -r pid _ <"$file" && [ "$pid" -gt 1 ] && kill -TERM "$pid"
  done
} 2>/dev/null
trap pass_on TERM
[ ! -x "$own" ] || "$own" &
while :; do
  # A stop takes the container's disk: the host key that was made here must outlive it.
  if [ "$GP_KEEP" ] && [ -e "$home/.gpuplug/rotated" ] && ! cmp -s "$key" "$GP_KEEP/host_key"; then
    cp "$key" "$GP_KEEP/host_key.new" && mv -f "$GP_KEEP/host_key.new" "$GP_KEEP/host_key"
  fi
  # In the background, because a shell hears a signal only between two commands; `wait` also buries what has lost its parent.
  sleep "${GP_PERIOD:-5}" &
  wait $!
done
