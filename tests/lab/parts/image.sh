# shellcheck shell=bash
# Sourced by the image recipes: a Debian with systemd as a tar archive, DIR/image.tar.
# image_recipe SUITE "EXTRA PACKAGES" inputs|about|build [DIR]

image_recipe() {
  local suite=$1 extra=$2 mirror=${LEGIONIO_DEBIAN_MIRROR:-http://deb.debian.org}
  local include=systemd,systemd-sysv,dbus,python3,python3-apt,iproute2,iputils-ping,procps,sudo,ca-certificates,curl,openssh-server
  case $3 in
    about) echo "Debian $suite${extra:+ with $extra} from packages (about a minute, once)" ;;
    # The date: packages are refreshed once a month.
    inputs) echo "$suite $extra $mirror $(date +%Y-%m) $(cat "$LAB/parts/image.sh" "$LAB"/parts/image/* | sha256sum)" ;;
    build)
      # The package lists stay, so that a host can install from a mirror without asking for them first. sshd
      # makes its host keys at first boot. A container's root mount is private, which leaves LoadCredential=
      # with an empty directory: it is made shared early in the boot, as on a real machine.
      # shellcheck disable=SC2016 # $1 is for mmdebstrap's shell, not for this one
      as_root mmdebstrap --format=tar --mode=root --variant=minbase --components=main \
        --include="$include${extra:+,$extra}" \
        --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --skip=cleanup/apt/lists \
        --customize-hook="copy-in '$LAB/parts/image' /tmp" \
        --customize-hook='sh "$1/tmp/image/customize.sh" "$1"' \
        "$suite" "$4/image.tar" \
        "deb $mirror/debian $suite main" "deb $mirror/debian $suite-updates main" \
        "deb $mirror/debian-security $suite-security main"
      ;;
  esac
}
