package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/lab/tunnel"
	"natlab/topology"
)

// site is one namespace while it is being made.
type site struct {
	plan   topology.Namespace
	handle netns.Handle
	made   bool
	nl     *netlink.Handle
	tunnel *tunnel.Tunnel
	index  map[string]int // of its devices
}

// sites is a Plan on its way into the kernel. Its steps are taken by all namespaces together: a veth's far end has to
// exist before it gets an address. Devices are made where they belong, peers straight into the other namespace, so no
// link is ever in the caller's own. What was made by then is there after an error too, for the caller to take away.
type sites struct {
	all    []*site
	byName map[string]*site
	ipip   ipipProbe
}

func newSites(plan topology.Plan) *sites {
	k := &sites{byName: make(map[string]*site, len(plan.Namespaces))}
	for _, ns := range plan.Namespaces {
		s := &site{plan: ns}
		k.all = append(k.all, s)
		k.byName[ns.Name] = s
	}
	return k
}

// create makes the namespaces.
func (k *sites) create(ctx context.Context, p *progress) error {
	return k.step(ctx, p, "namespaces", (*site).create)
}

// wire makes all that is in them.
func (k *sites) wire(ctx context.Context, p *progress) error {
	err := k.step(ctx, p, "devices", func(s *site) error { return s.makeDevices(k.byName) })
	if err == nil {
		err = k.step(ctx, p, "addresses and routes", func(s *site) error { return s.configure(&k.ipip) })
	}
	if err == nil {
		err = k.step(ctx, p, "links", func(s *site) error { return errors.Join(s.settle(ctx), s.introduce()) })
	}
	return err
}

func (k *sites) step(ctx context.Context, p *progress, name string, do func(*site) error) error {
	return each(ctx, k.all, func(s *site) error {
		defer p.done(name)
		if err := do(s); err != nil {
			return fmt.Errorf("%s: %w", title(s.plan), err)
		}
		return nil
	})
}

// handles are the doors into the namespaces, by member.
func (k *sites) handles() map[string]netns.Handle {
	out := make(map[string]netns.Handle, len(k.all))
	for _, s := range k.all {
		if s.made {
			out[s.plan.Member] = s.handle
		}
	}
	return out
}

// made lists the names of the namespaces that are there.
func (k *sites) made() []string {
	var out []string
	for _, s := range k.all {
		if s.made {
			out = append(out, s.plan.Name)
		}
	}
	return out
}

// tunnels are the ends of the tunnel that this process serves.
func (k *sites) tunnels() []*tunnel.Tunnel {
	var out []*tunnel.Tunnel
	for _, s := range k.all {
		if s.tunnel != nil {
			out = append(out, s.tunnel)
		}
	}
	return out
}

// close lets go of what only the making needed.
func (k *sites) close() {
	for _, s := range k.all {
		if s.nl != nil {
			s.nl.Close()
		}
	}
}

// parallel is how many namespaces are worked on at a time: rtnetlink has one lock for them all, but making namespaces and
// starting programs profits from every processor.
const parallel = 8

// each calls f for every element until one call fails or ctx ends, and waits for all calls.
func each[T any](ctx context.Context, all []T, f func(T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, one := range all {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return f(one)
		})
	}
	return group.Wait()
}

// title names a namespace in an error: "node vms105", "pod velero/minio-b6d98746c-m7rzc", "router".
func title(ns topology.Namespace) string {
	switch ns.Kind {
	case topology.KindNode, topology.KindPod, topology.KindClient:
		return ns.Kind.String() + " " + ns.Member
	case topology.KindUnderlay, topology.KindRouter:
	}
	return ns.Member
}

// create makes the namespace and the settings that hold for all its devices to come.
func (s *site) create() (err error) {
	if s.handle, err = netns.Create(s.plan.Name); err != nil {
		return err
	}
	s.made = true
	return s.handle.Do(func() (err error) {
		if s.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("rtnetlink: %w", err)
		}
		return s.sysctls(false)
	})
}

// sysctls writes the settings of devices, which have to exist by then, or the others. It runs in the namespace.
func (s *site) sysctls(ofDevice bool) error {
	for _, ctl := range s.plan.Sysctls {
		if (ctl.Device != "") != ofDevice {
			continue
		}
		if err := writeSysctl(ctl); err != nil {
			return fmt.Errorf("sysctl %s: %w", ctl.Key, err)
		}
	}
	return nil
}

func writeSysctl(ctl topology.Sysctl) error {
	fd, err := unix.Open("/proc/sys/"+ctl.Key, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		if strings.HasPrefix(ctl.Key, "net/ipv6/") && !exists("/proc/sys/net/ipv6") {
			return nil // the kernel has no IPv6, which is all that natlab asks of it
		}
		return fmt.Errorf("%w: this kernel does not have it", os.ErrNotExist)
	}
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(ctl.Value))
	return errors.Join(err, unix.Close(fd))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// configure gives the devices all that is not theirs from birth, and takes the namespace into use. A tunnel comes after
// the underlay device, as it does on a machine that boots: a packet that leaves by a device without an address is
// masqueraded with that of the first device that has one.
func (s *site) configure(ipip *ipipProbe) error {
	for _, d := range s.plan.Devices {
		if d.Kind == topology.TunnelIPIP {
			if err := s.makeTunnel(d, ipip); err != nil {
				return fmt.Errorf("device %s: %w", d.Name, err)
			}
		}
	}
	links, err := s.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	s.index = make(map[string]int, len(links))
	for _, l := range links {
		s.index[l.Attrs().Name] = l.Attrs().Index
	}
	for _, d := range s.plan.Devices {
		if err := s.takeUp(d); err != nil {
			return fmt.Errorf("device %s: %w", d.Name, err)
		}
	}
	if slices.ContainsFunc(s.plan.Sysctls, func(ctl topology.Sysctl) bool { return ctl.Device != "" }) { // entering costs a thread
		if err := s.handle.Do(func() error { return s.sysctls(true) }); err != nil {
			return err
		}
	}
	for _, a := range s.plan.Addresses {
		if err := s.addAddress(a); err != nil {
			return fmt.Errorf("device %s: address %s: %w", a.Device, a.Prefix, err)
		}
	}
	for _, r := range s.plan.Routes {
		if err := s.addRoute(r); err != nil {
			return fmt.Errorf("route %s: %w", r.Dst, err)
		}
	}
	return nil
}

// introduce adds the neighbours. All devices have to have their carrier by then: one that is seen without loses its proxy
// entries (neigh_carrier_down; seen on Linux 5.10).
func (s *site) introduce() error {
	for _, n := range s.plan.Neighbours {
		if err := s.addNeighbour(n); err != nil {
			return fmt.Errorf("device %s: neighbour %s %s: %w", n.Device, n.IP, n.MAC, err)
		}
	}
	return nil
}
