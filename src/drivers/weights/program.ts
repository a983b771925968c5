/**
 * The program that copies weights, run on the host as one named job. It is sh with coreutils and curl (rsync only for
 * rsync://), since that is what every host has; python3 is missing on minimal images. It reads everything that varies
 * from files in its work folder, so no value is ever quoted into shell text:
 *   manifest  rows "size<TAB>algorithm<TAB>hash<TAB>location<TAB>path"; "-" where the source does not say
 *   header    0600; the Authorization header for curl, or empty. curl does not send it to a redirect's other host.
 *   about     members of the completion mark that do not depend on the copy
 * and leaves:
 *   files/    the tree; a file has its own name once it is verified and synced, until then it ends in .tandem-part
 *   failure   one row "kind<TAB>path<TAB>detail" when it gave up; the first failure wins
 * At the end files/ is renamed to the target and the mark is put into it last. A repeat continues with what is there.
 * A target that is there without a mark (a crash between the two, or somebody's own copy) is verified in place and
 * never changed. Arguments: work folder, target, kind (web, file, rsync), protocols for curl.
 */
export const COPY_PROGRAM = String.raw`
set -u
umask 022
work=$1 target=$2 kind=$3 protocols=$4
mark=.tandem-complete.json
lanes=4
tab=$(printf '\t')
cd "$work" || exit 1
trap 'rm -f header' EXIT
trap 'exit 143' TERM INT HUP
[ -e "$target/$mark" ] && exit 0
rm -f failure

fail() { # KIND PATH DETAIL: the first one is kept; noclobber makes that one atomic step
  (set -C; printf '%s\t%s\t%s\n' "$1" "$2" "$3" > failure) 2> /dev/null
  exit 1
}
words() { tail -n 5 < "$1" | tr -s '\000-\037' ' '; }
bytes() { if [ -e "$1" ]; then echo $(($(wc -c < "$1"))); else echo 0; fi; }
hash_of() { # ALGORITHM FILE
  if [ "$1" = git-sha1 ]; then
    { printf 'blob %s\0' "$(bytes "$2")"; cat -- "$2"; } | sha1sum
  else
    sha256sum < "$2"
  fi | cut -d ' ' -f 1
}

web() { # Continues while bytes come; a server that cannot continue is asked once for the whole.
  whole=0
  while :; do
    before=$(bytes "$part")
    code=$(curl -q --silent --show-error --fail --globoff --location --max-redirs 5 --proto "$protocols" --proto-redir "$protocols" \
      --header @header --dump-header "headers.$lane" --connect-timeout 20 --speed-limit 1024 --speed-time 30 \
      --continue-at - --output "$part" --write-out '%{http_code}' --url "$location" 2> "errors.$lane")
    status=$?
    case $status.$code in
      0.*) return ;;
      22.416 | 33.*)
        [ $whole = 0 ] || fail unreachable "$path" "the server does not send the rest of a file (curl $status, HTTP $code)"
        whole=1
        rm -f "$part" ;;
      22.408 | 22.425 | 22.429 | 22.5??) fail unreachable "$path" "HTTP $code$(said)" ;;
      22.*) fail refused "$path" "HTTP $code$(said)" ;;
      1.* | 60.*) fail refused "$path" "$(words "errors.$lane")" ;;
      23.*) fail disk "$path" "$(words "errors.$lane")" ;;
      *) [ "$(bytes "$part")" -gt "$before" ] || fail unreachable "$path" "$(words "errors.$lane")" ;;
    esac
  done
}
said() { # What the server's headers add: the Hub's own code, how long to wait.
  tr -d '\r' < "headers.$lane" | while IFS=: read -r name value; do
    case $name in
      [Xx]-[Ee]rror-[Cc]ode) printf '%s' "$value" ;;
      [Rr]etry-[Aa]fter) printf ', Retry-After%s' "$value" ;;
    esac
  done
}

fetch() {
  case $kind in
    web) web ;;
    file) cp -- "$location" "$part" 2> "errors.$lane" || copy_failed ;;
    rsync)
      rsync --copy-links --inplace --no-motd --timeout=60 -- "$location" "$part" > /dev/null 2> "errors.$lane"
      status=$?
      case $status in
        0) ;;
        11) copy_failed ;;
        10 | 12 | 30 | 35) fail unreachable "$path" "$(words "errors.$lane")" ;;
        *) fail refused "$path" "$(words "errors.$lane")" ;;
      esac ;;
  esac
}
copy_failed() {
  case $(words "errors.$lane") in
    *'No space left'*) fail disk "$path" "$(words "errors.$lane")" ;;
    *) fail failed "$path" "$(words "errors.$lane")" ;;
  esac
}

right() { # FILE: says what is wrong with it on stdout, and that it is wrong by its status
  found=$(bytes "$1")
  if [ "$size" != - ] && [ "$found" -ne "$size" ]; then
    echo "$found bytes are there, the source says $size"
    return 1
  fi
  if [ "$algorithm" = - ] && [ $kind = rsync ]; then # No sums beside it: both ends compare the whole content.
    differs=$(rsync --copy-links --checksum --dry-run --itemize-changes --no-motd --timeout=600 -- "$location" "$1" 2> "errors.$lane") ||
      fail unreachable "$path" "$(words "errors.$lane")"
    case $differs in '<'* | '>'*) echo 'the content differs from the source'; return 1 ;; esac
    return 0
  fi
  wanted=$hash
  [ "$algorithm" = - ] && wanted=$(hash_of sha256 "$location")
  found=$(hash_of "$algorithm" "$1")
  [ "$found" = "$wanted" ] && return 0
  echo "its $algorithm is $found, the source says $wanted"
  return 1
}

bring() { # One row: brings the file, proves it, gives it its name.
  final=files/$path
  part=$final.tandem-part
  [ -e "$final" ] && return
  mkdir -p -- "$(dirname "$final")" 2> "errors.$lane" || fail failed "$path" "$(words "errors.$lane")"
  for attempt in first second; do
    if [ "$size" = - ] || [ "$(bytes "$part")" -gt "$size" ]; then rm -f "$part"; fi
    [ "$size" = 0 ] && : > "$part"
    if [ "$size" = - ] || [ "$(bytes "$part")" -lt "$size" ]; then fetch; fi
    wrong=$(right "$part") && break
    [ -e failure ] && exit 1
    rm -f "$part"
    [ $attempt = first ] || fail corrupt "$path" "$wrong, twice"
  done
  sync "$part" && mv -- "$part" "$final" || fail failed "$path" 'the file could not be synced and renamed'
}

lane() {
  lane=$1 row=0
  : > "rows.$lane"
  while IFS=$tab read -r size algorithm hash location path; do
    row=$((row + 1))
    [ -e failure ] && exit 1
    mkdir "claims/$row" 2> /dev/null || continue # Another lane has it.
    if [ $in_place = yes ]; then
      final=$target/$path
      wrong=$(right "$final") || fail differs "$path" "$wrong"
    else
      bring < /dev/null
    fi
    [ "$algorithm" = - ] && algorithm=sha256 hash=$(hash_of sha256 "$final")
    printf '{"path":"%s","size":%s,"%s":"%s"}\n' "$path" "$(bytes "$final")" "$algorithm" "$hash" >> "rows.$lane"
  done < manifest
}

in_place=no
[ -n "$(ls -A "$target" 2> /dev/null)" ] && in_place=yes
[ $in_place = yes ] || mkdir -p files || fail failed - 'the folder files could not be made'
rm -rf claims
mkdir claims || fail failed - 'the folder claims could not be made'
number=0
while [ $number -lt $lanes ]; do
  lane $number &
  number=$((number + 1))
done
wait
[ -e failure ] && exit 1
[ "$(cat rows.* | wc -l)" -eq "$(wc -l < manifest)" ] || fail failed - 'a lane of the copy ended early'

{
  printf '{%s,"files":[' "$(cat about)"
  LC_ALL=C sort rows.* | paste -s -d , -
  echo ']}'
} > complete.json
sync complete.json
if [ $in_place = no ]; then
  sync -f files
  mv -T -- files "$target" 2> errors.end || {
    [ -e "$target/$mark" ] && exit 0 # Another deployment brought the same weights meanwhile.
    fail failed - "$(words errors.end)"
  }
fi
mv -- complete.json "$target/$mark" 2> errors.end || fail failed - "$(words errors.end)"
sync -f "$target"
`;

/**
 * Makes the work folder and says what is free: prints "free <bytes>", "there <bytes>" when an earlier attempt left some, and
 * last its manifest after a line "manifest". Where a tool is no command here it prints "lacks <tool>" and makes nothing.
 * Folders above the target that did not exist are noted, deepest first, so that the undo removes just those.
 * What an earlier deployment of the same cluster left is taken over. Arguments: work folder, what the names of such
 * folders begin and end with, and the tools that are needed.
 */
export const PREPARE_PROGRAM = String.raw`
set -eu
umask 022
work=$1 begin=$2 end=$3 lacks=
shift 3
for tool; do
  command -v "$tool" > /dev/null || {
    echo "lacks $tool"
    lacks=yes
  }
done
[ -z "$lacks" ] || exit 0
for earlier in "$begin"*"$end"; do
  if [ -d "$earlier" ] && [ ! -e "$work" ]; then mv -T -- "$earlier" "$work"; fi
done
folder=$(dirname "$work")
missing=
while [ ! -d "$folder" ]; do
  missing="$missing$folder
"
  folder=$(dirname "$folder")
done
mkdir -p -- "$work"
cd "$work"
[ -e made ] || printf '%s' "$missing" > made
df -P -k . | { read -r _; read -r _ _ _ free _; echo "free $((free * 1024))"; }
[ ! -d files ] || du -s -b files | { read -r there _; echo "there $there"; }
[ ! -f manifest ] || { echo manifest; cat manifest; }
`;

/**
 * Removes the work folder, and the folders that were made for it and are empty. When the job died between the rename
 * and the mark, the mark is put first: those weights are complete. Arguments: work folder, target.
 */
export const DROP_PROGRAM = String.raw`
set -eu
work=$1 target=$2
[ -d "$work" ] || exit 0
if [ -s "$work/complete.json" ] && [ ! -d "$work/files" ] && [ -d "$target" ]; then
  mv -- "$work/complete.json" "$target/.tandem-complete.json"
fi
made=$(cat "$work/made" 2> /dev/null || :)
rm -rf -- "$work"
printf '%s\n' "$made" | while IFS= read -r folder; do
  if [ -n "$folder" ]; then rmdir -- "$folder" 2> /dev/null || :; fi
done
`;

/** Names the work folders of all deployments, one a line. Arguments: what their names begin and end with. */
export const PARTIAL_PROGRAM = 'for work in "$1"*"$2"; do [ ! -d "$work" ] || printf "%s\\n" "$work"; done';
