package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// revision is the commit that natlab was built from, where the Makefile built it; else the program knows it itself.
var revision string

// version is the program's commit, the Go release and the platform: "natlab 4c9a0d0 go1.26.0 linux/amd64".
func version() string {
	commit := revision
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	if commit == "" {
		commit = "unknown"
	}
	return fmt.Sprintf("natlab %s %s %s/%s", commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.out, version())
			return err
		},
	}
}
