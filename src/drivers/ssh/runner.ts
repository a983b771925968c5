/**
 * The program that runs commands on a host: POSIX sh, sent with every frame. It needs what any Linux has: base64, cat,
 * head, mkdir, rm, sed, setsid, sleep, tail, timeout, wc; /usr/bin and /bin are searched for these after the user's
 * own PATH, which the commands themselves get back unchanged.
 *
 * Each command runs in a session of its own, so that its process group holds all it starts. A watcher beside them reads
 * stdin: nothing more comes there, so the end of it means that the client is gone, and then the group of each command
 * that runs gets TERM, and KILL 5 s later; so does that of one which is over its limit, which the watcher sees at its next
 * look. What the command leaves in its group when it ends is ended too.
 *
 * The folder tandem-<id> holds the input (tmpfs where there is one: it may hold secrets), and per command when its time
 * ends, while it runs, and the process group with its start time, by which a later frame can end what a lost connection
 * left behind.
 *
 * stdout tells "<nonce> H <home>" first. Both streams carry "<nonce> S <index>" where a command's output begins and
 * "<nonce> E <index> …" where it ends (on stdout with exit code and 1 for timed out), last "<nonce> Z"; "<nonce> X <why>"
 * when nothing could be started. Other text on them is of login files or of ssh.
 */
export const RUNNER = String.raw`
exec 3<&0 4>&2 2>/dev/null </dev/null
trap "" HUP PIPE
tandem_refuse() {
  rm -rf "$tandem_d"
  printf "%s X %s\n" "$tandem_n" "$1"
  exit 1
}
tandem_d=
for tandem_t in /dev/shm "$TMPDIR" /tmp "$HOME"; do
  [ -n "$tandem_t" ] && mkdir -m 700 "$tandem_t/tandem-$tandem_id" && tandem_d=$tandem_t/tandem-$tandem_id && break
done
[ -n "$tandem_d" ] || tandem_refuse "no folder could be made in /dev/shm, /tmp or the home"
tandem_setsid=$(command -v setsid) && command -v timeout >"$tandem_d/has" ||
  tandem_refuse "the programs setsid and timeout are needed on the host"
printf "%s H %s\n" "$tandem_n" "$HOME"

# Takes the input of all commands: base64 lines up to a dot. What did not arrive whole starts nothing.
tandem_inputs() {
  (umask 077; sed -n "/^[.]/q;p" <&3 | base64 -d >"$tandem_d/in")
  [ "$(wc -c <"$tandem_d/in")" -eq "$1" ] || tandem_refuse "the input did not arrive whole"
}

# Cuts the input of one command out: index, offset, length.
tandem_input() { (umask 077; tail -c +"$(($2 + 1))" "$tandem_d/in" | head -c "$3" >"$tandem_d/i.$1"); }

# Writes down which process group a command is and when it began, from within, just before it becomes the command.
tandem_note() {
  tandem_f=$tandem_d/p.$1
  read -r tandem_s </proc/self/stat
  set -- $tandem_s
  tandem_g=$1
  shift 21
  printf "%s %s\n" "$tandem_g" "$1" >"$tandem_f"
}

# Hundredths of a second since the host was started.
tandem_now() {
  IFS=". " read -r tandem_u tandem_b tandem_r </proc/uptime
  tandem_u=$((tandem_u * 100 + 1$tandem_b - 100))
}

# Ends the process group of a command with a signal and waits until it is gone: index, signal.
tandem_end() {
  tandem_i=0
  until read -r tandem_g tandem_b <"$tandem_d/p.$1"; do
    tandem_i=$((tandem_i + 1))
    [ -s "$tandem_d/d.$1" ] && [ $tandem_i -le 50 ] || return
    sleep 0.1
  done
  kill -s "$2" -- "-$tandem_g" || kill -s "$2" "$tandem_g"
  tandem_i=0
  while kill -s 0 -- "-$tandem_g"; do
    tandem_i=$((tandem_i + 1))
    [ $tandem_i -eq 50 ] && kill -s KILL -- "-$tandem_g"
    [ $tandem_i -gt 100 ] && return
    sleep 0.1
  done
}

# Runs beside the commands until it gets TERM or the client is gone: seconds between its looks at their time, indices.
tandem_watch() {
  trap 'kill $!; exit' TERM
  tandem_s=$1
  tandem_y=
  shift
  until [ "$tandem_y" ]; do
    timeout "$tandem_s" wc -c <&3 & # Reads to the end, as cat would.
    wait $!
    case $? in
      124 | 143) ;; # 143: BusyBox says so that the time is over.
      *) tandem_y=gone && true >"$tandem_d/gone" ;;
    esac
    tandem_now
    for tandem_c; do
      read -r tandem_e <"$tandem_d/d.$tandem_c" || continue
      if [ "$tandem_e" -gt $tandem_u ]; then
        [ "$tandem_y" ] || continue
      else
        [ -e "$tandem_d/t.$tandem_c" ] && continue # It is being ended.
        true >"$tandem_d/t.$tandem_c"
      fi
      (tandem_end "$tandem_c" TERM &) # Not a job of this shell: $! stays what is waited for.
    done
  done
}

# Runs one command: index, limit in hundredths of a second.
tandem_one() {
  tandem_now
  printf "%s\n" $((tandem_u + $2)) >"$tandem_d/d.$1" || return # Nothing would end it.
  # In this order: a client that goes now is seen here, or the watcher sees this command.
  if [ -e "$tandem_d/gone" ]; then
    true >"$tandem_d/d.$1"
    return
  fi
  printf "%s S %s\n" "$tandem_n" "$1"
  printf "%s S %s\n" "$tandem_n" "$1" >&4
  tandem_in=$tandem_d/i.$1
  [ -e "$tandem_in" ] || tandem_in=/dev/null
  (
    [ "$tandem_in" = /dev/null ] || rm -f "$tandem_in" # It is open, and may hold secrets.
    trap - HUP PIPE
    tandem_note "$1"
    PATH=$tandem_path
    "tandem_command_$1"
  ) <"$tandem_in" 3<&- 2>&4 4>&-
  tandem_x=$?
  true >"$tandem_d/d.$1"
  tandem_end "$1" KILL
  tandem_o=0
  [ -e "$tandem_d/t.$1" ] && tandem_o=1
  printf "%s E %s %s %s\n" "$tandem_n" "$1" "$tandem_x" "$tandem_o"
  printf "%s E %s\n" "$tandem_n" "$1" >&4
}

# The same for a command that runs beside others: its output is kept until all have ended.
tandem_aside() { tandem_one "$1" "$2" >"$tandem_d/o.$1" 4>"$tandem_d/e.$1"; }

tandem_close() {
  [ -e "$tandem_d/gone" ] || kill $tandem_w # Once it has ended, the number may be another's.
  rm -rf "$tandem_d" || rm -rf "$tandem_d" # It may just have written a last file.
  printf "%s Z\n" "$tandem_n"
  printf "%s Z\n" "$tandem_n" >&4
  exit 0
}
`;

/**
 * Arguments of a command that ends what frames of these ids left on the host after their connection was lost: a
 * constant program. It exits 1 while something of them lives.
 */
export const endLost = (ids: readonly string[]): readonly string[] => ['sh', '-c', END_LOST, 'sh', ...ids];

const END_LOST = String.raw`
# A process group is another's when its first process began at another time.
ours() {
  [ -d "/proc/$1" ] || return 0
  began=$2
  set -- $(sed "s/.*) //" "/proc/$1/stat")
  [ $# -gt 19 ] || return 0
  shift 19
  [ "$1" = "$began" ]
}
code=0
for id; do
  for folder in "/dev/shm/tandem-$id" "$TMPDIR/tandem-$id" "/tmp/tandem-$id" "$HOME/tandem-$id"; do
    [ -d "$folder" ] || continue
    true >"$folder/gone"
    for file in "$folder"/p.*; do
      read -r group began <"$file" && ours "$group" "$began" || continue
      kill -s TERM -- "-$group"
      tries=0
      while kill -s 0 -- "-$group"; do
        tries=$((tries + 1))
        [ $tries -eq 50 ] && kill -s KILL -- "-$group"
        [ $tries -gt 100 ] && code=1 && break
        sleep 0.1
      done
    done
    [ $code -eq 0 ] && rm -rf "$folder"
  done
done
exit $code
`;
