package rootless

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// limits are the sysctls that bound how many namespaces of each kind there may be (create_user_ns, copy_net_ns and copy_mnt_ns: ENOSPC).
var limits = []string{"user.max_user_namespaces", "user.max_net_namespaces", "user.max_mnt_namespaces"}

// why adds to an error of making a place what forbids it, and the remedy, by the sysctls of this machine; read is "" for one that is not there.
func why(err error, read func(name string) string) error {
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	switch {
	case errors.Is(err, unix.ENOSPC):
		for _, name := range limits {
			if read(name) == "0" {
				return forbidden(err, name, "0", "15000")
			}
		}
		return fmt.Errorf("%w: there are as many namespaces as %s allow: raise them by sysctl -w", err, strings.Join(limits, ", "))
	case denied && read("kernel.unprivileged_userns_clone") == "0": // Debian's
		return forbidden(err, "kernel.unprivileged_userns_clone", "0", "1")
	case denied && read("kernel.apparmor_restrict_unprivileged_userns") == "1": // Ubuntu's since 23.10
		return forbidden(err, "kernel.apparmor_restrict_unprivileged_userns", "1", "0")
	case denied:
		return fmt.Errorf("%w: something forbids user namespaces, such as a container's seccomp profile: run it outside, or as docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: a kernel with CONFIG_USER_NS and CONFIG_NET_NS is needed", err)
	}
	return err
}

func forbidden(err error, name, is, want string) error {
	return fmt.Errorf("%w: user namespaces are switched off by %s=%s: sysctl -w %s=%s", err, name, is, name, want)
}

// sysctl is a setting of this machine.
func sysctl(name string) string {
	text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
