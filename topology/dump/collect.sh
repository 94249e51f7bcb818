#!/bin/sh
# Prints what natlab reads of a Linux node: explain, audit and diff --bundle. It reads only and leaves nothing behind; what a
# program of the node is missing for, or may not see, is noted. Best as root:  sudo sh collect.sh > NODE.bundle
# The bundle names addresses, processes and rules of the node. No keys, no environment, no file contents but CNI's networks.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL
exec 4>&1

# A hanging program ends after a minute, where there is timeout(1).
limit=
if timeout 5 true 2>/dev/null; then limit='timeout 60'; fi

have() { command -v "$1" >/dev/null 2>&1; }

# section NAME COMMAND...: the output of a command between marks; what it printed to standard error, and its exit status, behind it.
# A line of the output that looks like a mark has a backslash in front.
section() {
	printf '=== %s\n' "$1"
	shift
	told=$({ { "$@" 2>&3 3>&- 4>&-; echo "exit $?" >&3; } </dev/null | sed 's/^\\*=== /\\&/' >&4; } 3>&1)
	printf '\n'
	printf '%s\n' "$told" | tail -n 10 | sed -e 's/^/=== ! /' -e 's/^=== ! exit \([0-9][0-9]*\)$/=== exit \1/'
}

# run COMMAND...: a section that has the command's name.
run() {
	# shellcheck disable=SC2086 # of two words, or none
	if have "$1"; then section "$*" $limit "$@"; else section "$*" "$@"; fi
}

sysctls() {
	if have sysctl; then
		sysctl -a | grep '^net[./]'
		return
	fi
	find /proc/sys/net -type f | while read -r file; do
		if value=$(cat "$file"); then printf '%s = %s\n' "${file#/proc/sys/}" "$value"; fi
	done
}

conntrack_entries() {
	if have conntrack; then
		conntrack -L -f ipv4 && conntrack -L -f ipv6
		return
	fi
	cat /proc/net/nf_conntrack
}

# Sockets that listen, as ss prints them, or else their rows of /proc/net.
sockets() {
	if have ss; then
		ss -lntup
		return
	fi
	for file in tcp tcp6 udp udp6; do
		echo "# /proc/net/$file"
		case $file in
		tcp*) grep ' 0A ' "/proc/net/$file" ;;
		*) grep ' 07 ' "/proc/net/$file" ;;
		esac
	done
	true
}

printf '=== natlab bundle 1\n'
run hostname
run date -u +%Y-%m-%dT%H:%M:%SZ
run uname -r
run id -u
for family in iptables ip6tables; do
	run $family --version
	if have $family-legacy-save || have $family-nft-save; then
		run $family-legacy-save
		run $family-nft-save
	else
		run $family-save
	fi
done
run nft --version
run nft list ruleset
run ip -d address
run bridge -d link
run bridge fdb show
run bridge vlan show
run ip -4 route show table all
run ip -6 route show table all
run ip nexthop
run ip -4 rule
run ip -6 rule
run ip neigh
run ip neigh show proxy
run ip xfrm policy count
run ip xfrm state count
run ipset save
if [ -r /proc/net/ip_vs ]; then run cat /proc/net/ip_vs; fi
section conntrack conntrack_entries
section sysctl sysctls
section sockets sockets
for file in /etc/cni/net.d/*.conf /etc/cni/net.d/*.conflist; do
	if [ -f "$file" ]; then run cat "$file"; fi
done
printf '=== end\n'
