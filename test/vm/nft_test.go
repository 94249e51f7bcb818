//go:build vm

package vm_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/doctor"
	"natlab/lab/netns"
	"natlab/lab/vm"
)

// nftOf is a folder with the nft of a Debian release, under that name.
func nftOf(t *testing.T, release string) string {
	t.Helper()
	store, err := vm.DefaultStore(io.Discard)
	require.NoError(t, err)
	root, err := store.Tools(t.Context(), release)
	require.NoError(t, err)
	loaders, err := filepath.Glob(filepath.Join(root, "usr/lib*/ld-linux*.so.*"))
	if len(loaders) == 0 {
		loaders, err = filepath.Glob(filepath.Join(root, "usr/lib/*/ld-linux*.so.*"))
	}
	require.NoError(t, err)
	require.NotEmpty(t, loaders)
	libraries, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	require.NoError(t, err)
	require.Len(t, libraries, 1)
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec %s --library-path %s %s/usr/sbin/nft \"$@\"\n", loaders[0], libraries[0], root)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nft"), []byte(script), 0o700)) //nolint:gosec // it is run
	return dir
}

// ran runs a program in a namespace, with a folder in front of those that programs are looked for in.
func ran(t *testing.T, h netns.Handle, dir string, argv ...string) (out string, err error) {
	t.Helper()
	var text strings.Builder
	failed := h.Do(func() error {
		c := exec.CommandContext(t.Context(), argv[0], argv[1:]...) //nolint:gosec // the arguments are the test's
		c.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		c.Stdout, c.Stderr = &text, t.Output()
		err = c.Run()
		return nil
	})
	require.NoError(t, failed)
	return text.String(), err
}

// An nft of Debian 12 dies of any set that one of Debian 13 wrote (kubernetes#136786): doctor, which has the node's nft list what is there, says so, and has
// nothing to say where the older wrote the set.
func TestAnOldNFTDiesOfWhatANewOneWrote(t *testing.T) {
	older, newer := nftOf(t, "bookworm"), nftOf(t, "trixie")
	for _, row := range []struct {
		name, wrote string
		want        doctor.Answer
	}{{"its own", older, doctor.Yes}, {"the newer one's", newer, doctor.No}} {
		t.Run(row.name, func(t *testing.T) {
			name := fmt.Sprintf("nftold%d", os.Getpid())
			h, err := netns.CreateLeased(name)
			require.NoError(t, err)
			t.Cleanup(func() {
				require.NoError(t, netns.Delete(name))
				require.NoError(t, h.Close())
			})
			_, err = ran(t, h, row.wrote, filepath.Join(row.wrote, "nft"), "add table ip other; add set ip other s { type ipv4_addr ; }")
			require.NoError(t, err)

			text, _ := ran(t, h, older, natlab, "doctor", "-o", "json") // it ends with 1 where something is missing
			var found struct{ Features []doctor.Feature }
			require.NoError(t, json.Unmarshal([]byte(text), &found))
			for _, f := range found.Features {
				if f.Name != "nft lists this machine's tables" {
					continue
				}
				require.Equal(t, row.want, f.Have, f.Detail)
				if row.want == doctor.No {
					require.Contains(t, f.Detail, "nft 1.0.6 cannot read the tables of ip: nft: signal: segmentation fault")
					require.Contains(t, f.Remedy, "kubernetes#136786")
				}
				return
			}
			t.Fatal("doctor does not look")
		})
	}
}
