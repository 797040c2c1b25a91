/// A tensor that training changes. Reading from several threads is safe; writing is the trainer's alone.
public final class Parameter<E: Element>: @unchecked Sendable {
    private let leaf: Node<E>
    /// Frozen parameters are constants to the operations.
    public var isTrainable = true
    /// The current value; a new one must have the same shape.
    public var value: Tensor<E> {
        willSet { precondition(newValue.shape == value.shape, "\(newValue.shape) for a parameter of \(value.shape)") }
    }

    /// A stand-in for a value `[outputs, inputs]` that is not in memory: what linear layers multiply with, in float.
    public var half: HalfFactor<E>?

    public init(_ value: Tensor<E>) {
        self.value = value.detached()
        leaf = Node(leaf: value.shape)
    }

    public var shape: [Int] { value.shape }

    /// What operations take: the value as a leaf that adds into `gradient`.
    public var tensor: Tensor<E> {
        Tensor(storage: value.storage, shape: value.shape, node: isTrainable ? leaf : nil)
    }

    /// The sum of all derivatives since it was last set to nil.
    public var gradient: Tensor<E>? {
        get { leaf.gradient }
        set { leaf.gradient = newValue }
    }

    /// Write access in place to value and gradient together (nil gradient: `body` is not called).
    public func update(_ body: (UnsafeMutableBufferPointer<E>, UnsafeBufferPointer<E>) -> Void) {
        guard let gradient else { return }
        mutate { value in gradient.withUnsafeBufferPointer { body(value, $0) } }
    }

    /// Write access in place to the value; copies first if another handle shares it.
    public func mutate<R>(_ body: (UnsafeMutableBufferPointer<E>) throws -> R) rethrows -> R {
        try value.withUnsafeMutableBufferPointer(body)
    }
}
