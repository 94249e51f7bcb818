// Package vm runs natlab on other kernels: it fetches Debian's cloud kernels and iptables with apt, packs them with
// natlab into an initramfs, boots qemu with it, runs one command and brings back what that printed, the files it
// left and its exit status. A VM has no network and no disk, and nothing of it stays behind but the package cache.
package vm
