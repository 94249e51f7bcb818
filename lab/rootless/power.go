package rootless

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// power is what a lab needs of capabilities(7), in the user namespace that it is in, and what for. Root has no use for others.
var power = []struct {
	bit  uint
	name string
	use  string
}{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "links, rules, conntrack"},
	{unix.CAP_NET_RAW, "CAP_NET_RAW", "raw sockets and iptables"},
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "namespaces and mounts"},
	{unix.CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", "servers at ports below 1024"},
}

// Power tells which capabilities the calling process lacks to make a lab, and how to come by them; nil where it has all.
func Power() error {
	runtime.LockOSThread() // the file is of the thread that opens it, which may end before another reads it
	defer runtime.UnlockOSThread()
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err
	}
	return powerOf(string(status))
}

// powerOf is Power of a process whose status is a text of /proc.
func powerOf(status string) error {
	_, after, ok := strings.Cut(status, "\nCapEff:\t")
	text, _, _ := strings.Cut(after, "\n")
	has, err := strconv.ParseUint(text, 16, 64)
	if !ok || err != nil {
		return fmt.Errorf("/proc/thread-self/status: CapEff: %q is no set of capabilities", text)
	}
	var lacks []string
	for _, p := range power {
		if has>>p.bit&1 == 0 {
			lacks = append(lacks, p.name+" ("+p.use+")")
		}
	}
	if len(lacks) > 0 {
		return fmt.Errorf("this process lacks %s: run it with sudo, or as natlab --rootless, or in a container with --cap-add of each", strings.Join(lacks, ", "))
	}
	return nil
}
