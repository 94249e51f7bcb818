// Package realise makes a topology.Plan real: namespaces, devices, addresses, routes, neighbours and settings, by rtnetlink.
// It knows no rules, no servers and no lab, and takes nothing away.
package realise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/lab/tunnel"
	"natlab/topology"
)

// Build is a Plan on its way into the kernel. Its steps are taken by all namespaces together: a veth's far end has to
// exist before it gets an address. Devices are made where they belong, peers straight into the other namespace, so no
// link is ever in the caller's own. What was made by then is there after an error too, for the caller to take away.
type Build struct {
	all    []*builder
	byName map[string]*builder
	ipip   ipipProbe
	done   func(step string)
}

// Steps is how many steps each namespace takes.
const Steps = 4

// New begins a Build of a Plan. done is told of every step that a namespace has taken, well or not, by the step's name and
// from many goroutines.
func New(plan topology.Plan, done func(step string)) *Build {
	b := &Build{byName: make(map[string]*builder, len(plan.Namespaces)), done: done}
	for _, ns := range plan.Namespaces {
		one := &builder{plan: ns}
		b.all = append(b.all, one)
		b.byName[ns.Name] = one
	}
	return b
}

// Create makes the namespaces. It comes before Wire.
func (b *Build) Create(ctx context.Context) error {
	return b.step(ctx, "namespaces", (*builder).create)
}

// Wire makes all that is in them.
func (b *Build) Wire(ctx context.Context) error {
	err := b.step(ctx, "devices", func(one *builder) error { return one.makeDevices(b.byName) })
	if err == nil {
		err = b.step(ctx, "addresses and routes", func(one *builder) error { return one.configure(&b.ipip) })
	}
	if err == nil {
		err = b.step(ctx, "links", func(one *builder) error { return errors.Join(one.settle(ctx), one.introduce()) })
	}
	return err
}

// parallel is how many namespaces are worked on at a time: rtnetlink has one lock for them all, but making namespaces
// profits from every processor.
const parallel = 8

func (b *Build) step(ctx context.Context, name string, do func(*builder) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, one := range b.all {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			defer b.done(name)
			if err := do(one); err != nil {
				return fmt.Errorf("%s: %w", one.plan.Title(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// Handles are the doors into the namespaces that were made, by member; they are the caller's to close.
func (b *Build) Handles() map[string]netns.Handle {
	out := make(map[string]netns.Handle, len(b.all))
	for _, one := range b.all {
		if one.made {
			out[one.plan.Member] = one.handle
		}
	}
	return out
}

// Made lists the names of the namespaces that are there.
func (b *Build) Made() []string {
	var out []string
	for _, one := range b.all {
		if one.made {
			out = append(out, one.plan.Name)
		}
	}
	return out
}

// Tunnels are the ends of the tunnel that this process serves, for the caller to close.
func (b *Build) Tunnels() []*tunnel.Tunnel {
	var out []*tunnel.Tunnel
	for _, one := range b.all {
		if one.tunnel != nil {
			out = append(out, one.tunnel)
		}
	}
	return out
}

// Tunnel is what tunl0 is, once Wire was called.
func (b *Build) Tunnel() TunnelKind { return b.ipip.kind }

// Notes are what this kernel could not make of dumped nodes, once Wire was called.
func (b *Build) Notes() (out []string) {
	for _, one := range b.all {
		out = append(out, one.notes...)
	}
	return out
}

// Close lets go of what only the making needed.
func (b *Build) Close() {
	for _, one := range b.all {
		if one.nl != nil {
			one.nl.Close()
		}
		if one.socket != nil {
			one.socket.Close()
		}
	}
}

// builder is one namespace while it is being made.
type builder struct {
	plan   topology.Namespace
	handle netns.Handle
	made   bool
	nl     *netlink.Handle
	socket *nl.NetlinkSocket // another, for what nl has no words for
	tunnel *tunnel.Tunnel
	index  map[string]int // of its devices
	notes  []string       // what could not be made
}

// create makes the namespace and the settings that hold for all its devices to come.
func (b *builder) create() (err error) {
	if b.handle, err = netns.Create(b.plan.Name); err != nil {
		return err
	}
	b.made = true
	return b.handle.Do(func() (err error) {
		if b.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("rtnetlink: %w", err)
		}
		if b.socket, err = nl.Subscribe(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("rtnetlink: %w", err)
		}
		return b.sysctls(slices.DeleteFunc(slices.Clone(b.plan.Sysctls), ofDevice))
	})
}

// ofDevice reports whether a setting is of a device, which has to exist before it is made.
func ofDevice(ctl topology.Sysctl) bool { return ctl.Device != "" }

// sysctls writes settings. It runs in the namespace.
func (b *builder) sysctls(all []topology.Sysctl) error {
	var settings tree
	defer settings.close()
	for _, ctl := range all {
		if err := b.lacks("sysctl "+ctl.Key, writeSysctl(&settings, ctl)); err != nil {
			return fmt.Errorf("sysctl %s: %w", ctl.Key, err)
		}
	}
	return nil
}

func writeSysctl(settings *tree, ctl topology.Sysctl) error {
	err := settings.write(ctl.Key, ctl.Value)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	if strings.HasSuffix(ctl.Key, "/disable_ipv6") && ctl.Value == "1" && !exists("/proc/sys/net/ipv6") {
		return nil // the kernel has no IPv6, and a lab without it asks for nothing else
	}
	return fmt.Errorf("%w: this kernel does not have it", os.ErrNotExist)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// configure gives the devices all that is not theirs from birth, and takes the namespace into use. A tunnel comes after
// the underlay device, as it does on a machine that boots: a packet that leaves by a device without an address is
// masqueraded with that of the first device that has one.
func (b *builder) configure(ipip *ipipProbe) error {
	for _, d := range b.plan.Devices {
		if d.Kind == topology.TunnelIPIP {
			if err := b.makeTunnel(d, ipip); err != nil {
				return fmt.Errorf("device %s: %w", d.Name, err)
			}
		}
	}
	links, err := b.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	b.index = make(map[string]int, len(links))
	for _, l := range links {
		b.index[l.Attrs().Name] = l.Attrs().Index
	}
	for _, d := range b.plan.Devices {
		if err := b.takeUp(d); err != nil {
			return fmt.Errorf("device %s: %w", d.Name, err)
		}
	}
	others := slices.Clone(b.plan.Sysctls)
	others = b.setConf(slices.DeleteFunc(others, func(ctl topology.Sysctl) bool { return !ofDevice(ctl) }))
	if len(others) > 0 { // entering costs a thread
		if err := b.handle.Do(func() error { return b.sysctls(others) }); err != nil {
			return err
		}
	}
	for _, a := range b.plan.Addresses {
		if err := b.addAddress(a); err != nil {
			return fmt.Errorf("device %s: address %s: %w", a.Device, a.Prefix, err)
		}
	}
	for _, r := range b.plan.Routes {
		if r.Protocol == "kernel" && r.Dst.Addr().Is6() && r.Dst.Addr().IsLinkLocalUnicast() { // the device's address brought it
			continue
		}
		if err := b.lacks("route "+r.String(), b.addRoute(r)); err != nil {
			return fmt.Errorf("route %s: %w", r.Dst, err)
		}
	}
	return b.rules()
}

// introduce adds the neighbours. All devices have to have their carrier by then: one that is seen without loses its proxy
// entries (neigh_carrier_down; seen on Linux 5.10).
func (b *builder) introduce() error {
	for _, n := range b.plan.Neighbours {
		if err := b.addNeighbour(n); err != nil {
			return fmt.Errorf("device %s: neighbour %s %s: %w", n.Device, n.IP, n.MAC, err)
		}
	}
	return nil
}
