# Sourced by scripts that show a pack as its users get it: signed, served, found, downloaded, verified, installed by name.

publish_and_pull() {  # publish_and_pull FILE NAME FOLDER: of the catalogue on loopback, its keys and what is installed
    local file=$1 name=$2 folder=$3 run=${STAGE:-run_plainly} port
    export DUOMEM_HOME=$folder/home  # what is trusted and installed here stays here
    mkdir -p "$folder"
    [[ -d $folder/keys ]] || $run "pack: keys of a publisher" duomem pack keys new "$folder/keys"
    $run "pack: publish" duomem pack publish "$folder/catalogue" "$file" --keys "$folder/keys"
    : >"$folder/server.log"  # no port of a run before
    # It ends by itself if what comes after it fails.
    timeout 600 python3 -u -m http.server 0 --bind 127.0.0.1 --directory "$folder/catalogue" >"$folder/server.log" 2>&1 &
    server=$!
    until port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$folder/server.log") && [[ -n $port ]]; do
        kill -0 $server || { cat "$folder/server.log"; return 1; }
        sleep 0.1
    done
    rm -f "$DUOMEM_HOME/catalogues.json"  # the port is another one each time
    $run "pack: trust the catalogue" duomem pack catalogue add "http://127.0.0.1:$port" \
        --root "$folder/catalogue/metadata/1.root.json"
    $run "pack: search" duomem pack search expert
    $run "pack: pull" duomem pack pull "$name"
    kill $server
}

run_plainly() {  # run_plainly NAME COMMAND...
    shift
    "$@"
}
