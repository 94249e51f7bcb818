package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"natlab/nat/nftables"
	"natlab/nat/nftnl"
)

// ReadNFT reads the tables of a family in a namespace, by netlink, as `nft -a list ruleset` has them. An expression that natlab does not read is an
// Opaque statement with its name in brackets.
func ReadNFT(ns Namespace, family nftables.Family) (nftables.Ruleset, error) {
	return readNFT(ns, family, (*nfnetlink).tables)
}

// ReadNFTSets is ReadNFT without chains, rules and objects: the sets and maps of each table, with the elements of those that are wanted.
func ReadNFTSets(ns Namespace, family nftables.Family, wanted func(*nftables.Table, *nftables.Set) bool) (nftables.Ruleset, error) {
	return readNFT(ns, family, func(s *nfnetlink, family nftables.Family) (nftables.Ruleset, error) { return s.sets(family, wanted) })
}

func readNFT(ns Namespace, family nftables.Family, read func(*nfnetlink, nftables.Family) (nftables.Ruleset, error)) (rs nftables.Ruleset, err error) {
	err = ns.Do(func() error {
		s, err := openNFNetlink()
		if err != nil {
			return err
		}
		defer s.close()
		for range attempts {
			if rs, err = read(s, family); !errors.Is(err, errAgain) && !errors.Is(err, unix.EINTR) {
				return err
			}
		}
		return err
	})
	if err != nil {
		return nftables.Ruleset{}, fmt.Errorf("read the tables of family %s: %w", family, err)
	}
	return rs, nil
}

// NFTTables is ReadNFT; each rule, set and object that natlab does not read is as the nft program lists it where that is there. It is not asked for
// the others: a listing may leave out what the kernel has.
func NFTTables(ctx context.Context, ns Namespace, family nftables.Family) (nftables.Ruleset, error) {
	rs, err := ReadNFT(ns, family)
	if err != nil || !nftnl.Unread(rs) {
		return rs, err
	}
	text, err := ListNFT(ctx, ns, string(family))
	if errors.Is(err, ErrUnsupported) {
		return rs, nil
	}
	if err != nil {
		return nftables.Ruleset{}, err
	}
	listed, err := nftables.ParseText(text)
	if err != nil {
		return nftables.Ruleset{}, fmt.Errorf("nft list ruleset %s: %w", family, err)
	}
	return nftnl.Fill(rs, listed), nil
}

// tables is one reading; errAgain where they changed under it.
func (s *nfnetlink) tables(family nftables.Family) (nftables.Ruleset, error) {
	before, err := s.generation()
	if err != nil {
		return nftables.Ruleset{}, err
	}
	d := nftnl.Dump{Family: family, Elements: map[nftnl.SetName][][]byte{}}
	all := func(m nftnl.Message) (out [][]byte) {
		if err == nil {
			err = s.dump(m, func(b []byte) { out = append(out, b) })
		}
		return out
	}
	tables, chains, rules, sets, objects := nftnl.Requests(family)
	if d.Tables = all(tables); err != nil || len(d.Tables) == 0 {
		return nftables.Ruleset{}, err
	}
	d.Chains, d.Rules, d.Sets, d.Objects = all(chains), all(rules), all(sets), all(objects)
	for _, set := range d.Sets {
		name, bad := nftnl.NameOfSet(set)
		if bad != nil {
			return nftables.Ruleset{}, bad
		}
		d.Elements[name] = all(nftnl.ElementsOf(family, name))
	}
	after := before
	if err == nil {
		after, err = s.generation()
	}
	switch {
	case before != after, errors.Is(err, unix.ENOENT):
		return nftables.Ruleset{}, errAgain
	case err != nil:
		return nftables.Ruleset{}, err
	}
	if d.Devices, err = deviceNames(); err != nil {
		return nftables.Ruleset{}, err
	}
	return nftnl.Decode(d)
}

// sets is one reading of the sets; errAgain where one went under it.
func (s *nfnetlink) sets(family nftables.Family, wanted func(*nftables.Table, *nftables.Set) bool) (nftables.Ruleset, error) {
	d := nftnl.Dump{Family: family, Elements: map[nftnl.SetName][][]byte{}}
	all := func(m nftnl.Message) (out [][]byte, err error) {
		err = s.dump(m, func(b []byte) { out = append(out, b) })
		if errors.Is(err, unix.ENOENT) {
			err = errAgain
		}
		return out, err
	}
	tables, _, _, sets, _ := nftnl.Requests(family)
	var err error
	if d.Tables, err = all(tables); err != nil || len(d.Tables) == 0 {
		return nftables.Ruleset{}, err
	}
	if d.Sets, err = all(sets); err != nil {
		return nftables.Ruleset{}, err
	}
	bare, err := nftnl.Decode(d)
	if err != nil {
		return nftables.Ruleset{}, err
	}
	for i := range bare.Tables {
		t := &bare.Tables[i]
		for k := range t.Sets {
			if !wanted(t, &t.Sets[k]) {
				continue
			}
			name := nftnl.SetName{Table: t.Name, Set: t.Sets[k].Name}
			if d.Elements[name], err = all(nftnl.ElementsOf(family, name)); err != nil {
				return nftables.Ruleset{}, err
			}
		}
	}
	return nftnl.Decode(d)
}

// generation counts the transactions that the namespace has had.
func (s *nfnetlink) generation() (id string, err error) {
	const getGeneration = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN
	b := s.message(nil, getGeneration, 0, unix.AF_UNSPEC, 0, nil)
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return "", fmt.Errorf("generation: %w", err)
	}
	for id == "" && err == nil {
		err = s.receive(func(r reply) error {
			switch {
			case r.seq != s.seq:
				return nil
			case r.kind == unix.NLMSG_ERROR:
				return r.status()
			}
			id = string(r.body) + " "
			return nil
		})
	}
	return id, err
}

// deviceNames are the devices of the namespace by their indices, and deviceIndices the other way round.
func deviceNames() (map[uint32]string, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	out := make(map[uint32]string, len(devices))
	for _, d := range devices {
		out[uint32(d.Index)] = d.Name //nolint:gosec // an index is positive
	}
	return out, nil
}

func deviceIndices() (map[string]uint32, error) {
	names, err := deviceNames()
	out := make(map[string]uint32, len(names))
	for index, name := range names {
		out[name] = index
	}
	return out, err
}
