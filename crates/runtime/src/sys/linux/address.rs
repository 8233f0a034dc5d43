//! How does a socket's address look to the kernel? std does not let its addresses be seen as the kernel's structures,
//! nor be made from them, so this file converts.

use libc::{in_addr, in6_addr, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un, socklen_t};
use std::ffi::OsStr;
use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net;
use std::path::Path;

/// An address as the kernel takes and returns it.
#[derive(Clone, Copy)]
pub(crate) struct KernelAddress {
    storage: sockaddr_storage,
    bytes: socklen_t,
}

/// Where the path of a Unix address begins.
const PATH_OFFSET: usize = offset_of!(sockaddr_un, sun_path);

impl KernelAddress {
    /// Room for any address that the kernel returns.
    pub(crate) fn room() -> Self {
        // SAFETY: S5: all zeros is an address of no family.
        let storage = unsafe { MaybeUninit::zeroed().assume_init() };
        Self {
            storage,
            bytes: size_of::<sockaddr_storage>() as socklen_t,
        }
    }

    /// # Safety
    /// S5: `T` is a structure of addresses, at most as long as the storage.
    unsafe fn holding<T>(address: T) -> Self {
        let mut this = Self::room();
        // SAFETY: S5: the caller's promise; the storage is aligned for every kind of address.
        unsafe { (&raw mut this.storage).cast::<T>().write(address) };
        this.bytes = size_of::<T>() as socklen_t;
        this
    }

    pub(crate) fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn bytes(&self) -> socklen_t {
        self.bytes
    }

    /// The places that a call fills in.
    pub(crate) fn places(&mut self) -> (*mut sockaddr, *mut socklen_t) {
        ((&raw mut self.storage).cast(), &raw mut self.bytes)
    }

    pub(crate) fn family(&self) -> libc::c_int {
        libc::c_int::from(self.storage.ss_family)
    }

    /// The address of an Internet socket.
    pub(crate) fn to_inet(self) -> io::Result<SocketAddr> {
        let bytes = self.bytes as usize;
        match self.family() {
            libc::AF_INET if bytes >= size_of::<sockaddr_in>() => {
                // SAFETY: S5: the family and the length say that it is one.
                let address = unsafe { *(&raw const self.storage).cast::<sockaddr_in>() };
                let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
            }
            libc::AF_INET6 if bytes >= size_of::<sockaddr_in6>() => {
                // SAFETY: S5: the family and the length say that it is one.
                let address = unsafe { *(&raw const self.storage).cast::<sockaddr_in6>() };
                let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                let port = u16::from_be(address.sin6_port);
                Ok(SocketAddrV6::new(ip, port, address.sin6_flowinfo, address.sin6_scope_id).into())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this is not the address of an Internet socket",
            )),
        }
    }

    /// The address of a Unix socket with this path. The kernel wants a zero behind it, and no zero within.
    pub(crate) fn of_path(path: &Path) -> io::Result<Self> {
        let path = path.as_os_str().as_bytes();
        if path.contains(&0) {
            let text = "the path of a Unix socket contains a zero";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Self::of_unix_bytes(path, usize::from(!path.is_empty()))
    }

    /// An address of these bytes behind the family, with `zeros` more.
    fn of_unix_bytes(bytes: &[u8], zeros: usize) -> io::Result<Self> {
        // SAFETY: S5: all zeros is an address without a path.
        let mut address: sockaddr_un = unsafe { MaybeUninit::zeroed().assume_init() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        if bytes.len() + zeros > address.sun_path.len() {
            let text = "the path of a Unix socket has at most 107 bytes";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        for (place, byte) in address.sun_path.iter_mut().zip(bytes) {
            *place = *byte as libc::c_char;
        }
        // SAFETY: S5: a structure of addresses.
        let mut this = unsafe { Self::holding(address) };
        this.bytes = (PATH_OFFSET + bytes.len() + zeros) as socklen_t;
        Ok(this)
    }

    /// The address of a Unix socket.
    pub(crate) fn to_unix(self) -> io::Result<net::SocketAddr> {
        let bytes = self.bytes as usize;
        // The kernel returns no family for a socket without a name.
        if bytes == 0 || bytes <= PATH_OFFSET && self.family() == libc::AF_UNIX {
            return net::SocketAddr::from_pathname("");
        }
        if self.family() != libc::AF_UNIX {
            let text = "this is not the address of a Unix socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let length = bytes.min(size_of::<sockaddr_storage>()) - PATH_OFFSET;
        let first = (&raw const self.storage).cast::<u8>().wrapping_add(PATH_OFFSET);
        // SAFETY: S5: within the storage, all of whose bytes are initialised.
        let name = unsafe { std::slice::from_raw_parts(first, length) };
        match name {
            [0, abstract_name @ ..] => net::SocketAddr::from_abstract_name(abstract_name),
            path => {
                let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                net::SocketAddr::from_pathname(OsStr::from_bytes(&path[..end]))
            }
        }
    }
}

impl From<SocketAddr> for KernelAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => {
                let kernels = sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: in_addr {
                        s_addr: u32::from_ne_bytes(address.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: S5: a structure of addresses.
                unsafe { Self::holding(kernels) }
            }
            SocketAddr::V6(address) => {
                let kernels = sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: in6_addr {
                        s6_addr: address.ip().octets(),
                    },
                    sin6_scope_id: address.scope_id(),
                };
                // SAFETY: S5: a structure of addresses.
                unsafe { Self::holding(kernels) }
            }
        }
    }
}

impl TryFrom<&net::SocketAddr> for KernelAddress {
    type Error = io::Error;

    fn try_from(address: &net::SocketAddr) -> io::Result<Self> {
        if let Some(path) = address.as_pathname() {
            return Self::of_path(path);
        }
        match address.as_abstract_name() {
            Some(name) => {
                let bytes: Vec<u8> = std::iter::once(0).chain(name.iter().copied()).collect();
                Self::of_unix_bytes(&bytes, 0)
            }
            None => Self::of_unix_bytes(&[], 0),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    /// The address of a socket, as the kernel tells it.
    fn name_of(socket: &impl AsRawFd) -> KernelAddress {
        let mut address = KernelAddress::room();
        let (place, bytes) = address.places();
        // SAFETY: S5: live places.
        assert_eq!(unsafe { libc::getsockname(socket.as_raw_fd(), place, bytes) }, 0);
        address
    }

    #[test]
    fn internet_addresses_come_back_as_they_were() {
        let scoped = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4), 65_535, 7, 3);
        for address in [
            "127.0.0.1:80".parse().unwrap(),
            "[::1]:443".parse().unwrap(),
            scoped.into(),
        ] {
            assert_eq!(KernelAddress::from(address).to_inet().unwrap(), address);
        }
    }

    #[test]
    fn the_kernel_agrees_on_internet_addresses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(name_of(&listener).to_inet().unwrap(), listener.local_addr().unwrap());
        assert!(name_of(&listener).to_unix().is_err());
    }

    #[test]
    fn the_kernel_agrees_on_unix_addresses() {
        let path = std::env::temp_dir().join(format!("silken-address-{}", std::process::id()));
        let abstract_name = format!("silken-address-{}", std::process::id());
        let named = net::SocketAddr::from_pathname(&path).unwrap();
        let unseen = net::SocketAddr::from_abstract_name(&abstract_name).unwrap();
        for address in [named, unseen] {
            let listener = net::UnixListener::bind_addr(&address).unwrap();
            let told = name_of(&listener);
            assert!(told.to_inet().is_err());
            let seen = told.to_unix().unwrap();
            assert_eq!(seen.as_pathname(), address.as_pathname());
            assert_eq!(seen.as_abstract_name(), address.as_abstract_name());
            // And the kernel finds the listener by our form.
            let ours = KernelAddress::try_from(&address).unwrap();
            let client = crate::sys::socket::socket(libc::AF_UNIX, libc::SOCK_STREAM).unwrap();
            // SAFETY: S5: a live address.
            let connected = unsafe { libc::connect(client.as_raw_fd(), ours.as_ptr(), ours.bytes()) };
            assert_eq!(connected, 0, "{address:?}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_socket_without_a_name_stays_without() {
        let socket = net::UnixDatagram::unbound().unwrap();
        assert!(name_of(&socket).to_unix().unwrap().is_unnamed());
        let unnamed = socket.local_addr().unwrap();
        assert_eq!(KernelAddress::try_from(&unnamed).unwrap().bytes() as usize, PATH_OFFSET);
    }

    #[test]
    fn paths_that_do_not_fit_are_refused() {
        let longest = "x".repeat(107);
        assert!(KernelAddress::of_path(Path::new(&longest)).is_ok());
        for bad in ["x".repeat(108), "a\0b".to_string()] {
            let error = KernelAddress::of_path(Path::new(&bad)).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
