#!/bin/sh
# Unpack Asterisk 22 with its libraries into FOLDER, without installing anything: Debian's stable
# releases have no chan_websocket, so the packages of a later suite are fetched with a private apt
# state and run with their own loader. Needs Debian or Ubuntu with Debian's keyring; no root.
#   install.sh FOLDER [SUITE]
set -eu
folder=$1
suite=${2:-forky}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

[ -r "$keyring" ] || { echo "no $keyring; install debian-archive-keyring" >&2; exit 1; }
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' |
    sort -u | head -n 1)
[ -n "$mirror" ] || { echo "apt knows no mirror of Debian; run: apt-get update" >&2; exit 1; }

work=$folder.partial
rm -rf "$work"
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root"
: > "$work/status"
echo "deb [signed-by=$keyring] $mirror $suite main" > "$work/sources.list"

# An empty status file makes apt fetch the C library too, which the loader needs.
fetch() {
    apt-get -q -o Dir::State="$work/state" -o Dir::State::status="$work/status" \
        -o Dir::Cache="$work/cache" -o Dir::Etc::sourcelist="$work/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=20 "$@"
}
fetch update
fetch -y --no-install-recommends --download-only install asterisk asterisk-modules

for package in "$work"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$work/root"
done
cd "$work/root"
rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/perl usr/lib/*/perl*
rm -rf "$folder"
mv "$work/root" "$folder"
rm -rf "$work"
