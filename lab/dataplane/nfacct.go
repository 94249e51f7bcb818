package dataplane

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// Numbers of linux/netfilter/nfnetlink.h and nfnetlink_acct.h.
const (
	subsysAcct = 7 // NFNL_SUBSYS_ACCT
	acctNew    = 0 // NFNL_MSG_ACCT_NEW
	acctName   = 1 // NFACCT_NAME
	acctLength = 32
)

// MakeCounters creates nfacct objects that are not there yet. Install does it for those that its rule set names: the
// kernel refuses a restore that names one that does not exist. kube-proxy 1.31 and later count with them.
func MakeCounters(ns Namespace, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return ns.Do(func() error {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return fmt.Errorf("open nfnetlink: %w", err)
		}
		var errs []error
		for _, name := range names {
			if err := makeCounter(c, name); err != nil {
				errs = append(errs, fmt.Errorf("make the nfacct counter %q: %w", name, err))
			}
		}
		return errors.Join(append(errs, c.Close())...)
	})
}

func makeCounter(c *netlink.Conn, name string) error {
	if len(name) >= acctLength {
		return fmt.Errorf("its name has more than %d bytes", acctLength-1)
	}
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: acctName, Data: append([]byte(name), 0)}})
	if err != nil {
		return err
	}
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{Type: subsysAcct<<8 | acctNew, Flags: netlink.Request | netlink.Create | netlink.Acknowledge},
		Data:   append([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}, attrs...),
	})
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST): // it is there already (nfnl_acct_new)
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: the kernel has no nfnetlink_acct", ErrUnsupported)
	}
	return err
}

// accountingNames lists the nfacct objects that the rules name, each once.
func accountingNames(rs iptables.Ruleset) []string {
	var names []string
	seen := map[string]bool{}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, m := range r.Matches {
					if acct, ok := m.(xt.NFAcct); ok && !seen[acct.Object] {
						seen[acct.Object] = true
						names = append(names, acct.Object)
					}
				}
			}
		}
	}
	return names
}
