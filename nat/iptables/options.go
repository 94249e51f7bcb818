package iptables

import (
	"slices"
	"strings"
)

// longOptions are the options that every command and every rule may have, by their long names, and what they are short
// for (original_opts of iptables 1.8.9).
var longOptions = map[string]string{
	"append": "-A", "delete": "-D", "check": "-C", "insert": "-I", "replace": "-R", "list": "-L", "list-rules": "-S",
	"flush": "-F", "zero": "-Z", "new-chain": "-N", "delete-chain": "-X", "rename-chain": "-E", "policy": "-P",
	"source": "-s", "src": "-s", "destination": "-d", "dst": "-d", "protocol": "-p", "in-interface": "-i",
	"out-interface": "-o", "fragments": "-f", "jump": "-j", "goto": "-g", "match": "-m", "set-counters": "-c",
	"table": "-t", "numeric": "-n", "verbose": "-v", "exact": "-x", "line-numbers": "-0", "wait": "-w",
	"wait-interval": "-W", "modprobe": "-M", "ipv4": "-4", "ipv6": "-6", "help": "-h", "version": "-V",
}

// short is the short form of an option that is no extension's, "" for any other word.
func short(option string) string {
	if len(option) == 2 && option[0] == '-' && strings.IndexByte(shortOptions, option[1]) >= 0 {
		return option
	}
	if name, long := strings.CutPrefix(option, "--"); long {
		return longOptions[name]
	}
	return ""
}

const shortOptions = "ACDEFILNPRSXZsdpiofjgmctnvxwWMhV046"

// abbreviated are the short forms of what a long option can be the beginning of (getopt_long): with one it is that option, with
// more it is none. It tells nothing of what begins so among the options of a rule's extensions.
func abbreviated(option string) (kinds []string) {
	name, long := strings.CutPrefix(option, "--")
	if !long || name == "" {
		return nil
	}
	for full, one := range longOptions {
		if strings.HasPrefix(full, name) && !slices.Contains(kinds, one) {
			kinds = append(kinds, one)
		}
	}
	slices.Sort(kinds)
	return kinds
}
