// The program's 4 MB are fetched when a visitor asks for them, and the camera is allowed inside the frame.
for (const place of document.querySelectorAll('.try')) {
  const src = place.dataset.src, button = place.querySelector('button')
  button.addEventListener('click', () => {
    const frame = document.createElement('iframe')
    Object.assign(frame, { src, allow: 'camera', title: 'fer_nb: faces, read on this device' })
    place.prepend(frame)
    place.classList.add('open')
  })
}
